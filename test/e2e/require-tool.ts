import t from 'tap'
import { runSync } from '../process.ts'

/** Skips the file if a tool is missing, and says why. In CI a missing tool is a failure. */
export function requireTool(tool: string, ...args: string[]): void {
  const { status } = runSync(tool, ...args)
  if (status === 0) return
  if (process.env.CI !== undefined) throw new Error(`CI needs ${tool}`)
  t.plan(0, `skipped: no ${tool}`)
  process.exit()
}

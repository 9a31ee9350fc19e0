import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { join } from 'node:path'
import { storageApi } from './contenders.ts'
import type { Answers } from './probe.ts'
import type { Command } from './process.ts'

/** As JavaScript: what strips the types would be resident in the service. */
const PROBE = `data:text/javascript,${encodeURIComponent(
  stripTypeScriptTypes(readFileSync(join(import.meta.dirname, 'probe.ts'), 'utf8')),
)}`

/** The service as the image runs it, and with probe.ts in it. */
export function probedStorageApi(env: Record<string, string>) {
  const command = storageApi(['--import', PROBE], env)
  return (port: number): Command => ({ ...command(port), ipc: true })
}

/** Asks the probe in a server. */
export async function askProbe<Q extends keyof Answers>(
  server: ChildProcess,
  question: Q,
): Promise<Answers[Q]> {
  const answered = once(server, 'message')
  server.send(question)
  const [answer] = await answered
  return answer
}

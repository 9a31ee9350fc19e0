import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { join } from 'node:path'
import { storageApi } from './contenders.ts'
import type { Answers } from './probe.ts'
import type { Command } from './process.ts'

/** As JavaScript, because the code that strips types would take memory in the service. */
const PROBE = `data:text/javascript,${encodeURIComponent(
  stripTypeScriptTypes(readFileSync(join(import.meta.dirname, 'probe.ts'), 'utf8')),
)}`

/** The service as the image runs it, with probe.ts inside. */
export function probedStorageApi(env: Record<string, string>) {
  const command = storageApi(['--import', PROBE], env)
  return (port: number): Command => ({ ...command(port), ipc: true })
}

/** Sends a request to the probe in a server. */
export async function askProbe<Q extends keyof Answers>(
  server: ChildProcess,
  question: Q,
): Promise<Answers[Q]> {
  const answered = once(server, 'message')
  server.send(question)
  const [answer] = await answered
  return answer
}

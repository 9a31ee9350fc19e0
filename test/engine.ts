/** The engine that a contract is tested with: the memory, unless {@link useEngine} has named another. */
import type { Test } from 'tap'
import { type App, build as buildApp } from './helper.ts'
import { runSync } from './process.ts'
import type { Server } from './redis.ts'

let url = 'memory:'
let servers: Server[] = []

export function useEngine(engine: { url: string; servers: Server[] }): void {
  url = engine.url
  servers = engine.servers
}

/** Whether it is in another process, whose clock and memory are its own. */
export const isRemote = () => url !== 'memory:'

/** What `/metrics` says when nothing is stored. Servers use memory all the same. */
export const nothingStored = () => ({ storage_objects: 0, ...(!isRemote() && { storage_bytes: 0 }) })

/** Builds an application on the engine, with nothing stored. */
export function build(t: Test, env: NodeJS.ProcessEnv = {}, lines: Record<string, unknown>[] = []): App {
  for (const { port } of servers) runSync('redis-cli', '-p', `${port}`, 'flushall')
  return buildApp(t, { STORAGE_URL: url, ...env }, lines)
}

/** The engine that the contract tests use: memory, unless {@link useEngine} has set another one. */
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

/** Whether the engine is in another process, which has its own clock and memory. */
export const isRemote = () => url !== 'memory:'

/** The values of `/metrics` when no object is stored. Servers use memory even then. */
export const nothingStored = () => ({ storage_objects: 0, ...(!isRemote() && { storage_bytes: 0 }) })

/** Builds an application on the engine, without any objects. */
export function build(t: Test, env: NodeJS.ProcessEnv = {}, lines: Record<string, unknown>[] = []): App {
  for (const { port } of servers) runSync('redis-cli', '-p', `${port}`, 'flushall')
  return buildApp(t, { STORAGE_URL: url, ...env }, lines)
}

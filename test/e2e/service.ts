import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { parsePage } from '../helper.ts'
import { freePorts } from '../process.ts'
import type { Target } from './clients.ts'
import { compose, docker, startContainer } from './docker.ts'

/** The service in its own container, on the loopback interface. */
export interface Service {
  readonly container: string
  readonly target: Target
  remove(): Promise<void>
}

/**
 * Builds the service and starts it with the memory that Compose gives it, without swap. The other
 * arguments go to `docker run`.
 */
export async function startService(env: Record<string, string>, ...args: string[]): Promise<Service> {
  await compose(['build', 'storage_api'])
  const { services } = JSON.parse(await compose(['config', '--format', 'json']))
  const [port = 0] = await freePorts(1)
  const target = { host: '127.0.0.1', port }
  const variables = { HOST: target.host, PORT: `${target.port}`, ...env }
  const { name: container, remove } = await startContainer(
    ...['--network', 'host', '--memory', '512m', '--memory-swap', '512m', ...args],
    ...Object.entries(variables).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
    services.storage_api.image,
  )
  for (let attempt = 0; attempt < 300; attempt++) {
    const { ok } = await fetch(`http://127.0.0.1:${target.port}/readyz`).catch(() => ({ ok: false }))
    if (ok) return { container, target, remove }
    await sleep(100)
  }
  throw new Error(`not ready within 30 seconds: ${await docker('logs', container)}`)
}

/** The series of `/metrics` and their values. */
export async function scrape({ target }: Service): Promise<Record<string, number>> {
  return parsePage(await (await fetch(`http://127.0.0.1:${target.port}/metrics`)).text())
}

/** The highest resident memory that the process has had, in bytes. */
export async function peakMemory({ container }: Service): Promise<number> {
  const pid = await docker('inspect', '--format', '{{.State.Pid}}', container)
  return 1024 * Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1])
}

/** Starts the service like {@link startService}, and removes it after the test. */
export async function start(t: Test, env: Record<string, string>, ...args: string[]): Promise<Service> {
  const service = await startService({ DRAIN_SECONDS: '0', ...env }, ...args)
  t.after(() => service.remove())
  return service
}

/** Checks that the process has not restarted. */
export async function isAlive(t: Test, { container }: Service): Promise<void> {
  const [{ State, RestartCount }] = JSON.parse(await docker('inspect', container))
  t.match(State, { Running: true, OOMKilled: false })
  t.equal(RestartCount, 0)
}

/** The quantile of some values. */
export const quantile = (values: number[], q: number) =>
  [...values].sort((a, b) => a - b)[Math.floor(q * (values.length - 1))] as number

/** Real servers for tests: Redis, or a cluster of three of them. */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { until } from './helper.ts'

/**
 * Whether there is a redis-server to test with. Without one the tests say so and pass, but for where all of them have
 * to run.
 */
export function hasRedis(t: Test): boolean {
  if (spawnSync('redis-server', ['--version']).error === undefined) return true
  if (process.env.CI === undefined) t.comment('skipped: no redis-server')
  else t.fail('no redis-server')
  return false
}

/** Ports of the loopback interface that nobody listens on. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => once(server.close(), 'close')))
  return ports
}

export interface Server {
  readonly port: number
  readonly url: string
  /** Starts it again, on the same port and directory, and waits until it takes connections. */
  start(): Promise<void>
  /** Ends it as a power cut would. */
  kill(): Promise<void>
  signal(signal: NodeJS.Signals): void
  /** Asks it something, by redis-cli. */
  ask(...command: string[]): Promise<string>
}

/** Starts a redis-server on a free port, which ends with the test. */
export async function startRedis(t: Test, args: string[] = [], cli: string[] = []): Promise<Server> {
  const [port = 0] = await freePorts(1)
  const dir = mkdtempSync(join(tmpdir(), 'storage-api-redis-'))
  let child: ChildProcess | undefined
  const server: Server = {
    port,
    url: `redis://127.0.0.1:${port}`,
    async start() {
      const fixed = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--dir', dir]
      child = spawn('redis-server', [...fixed, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
      for await (const line of createInterface(child.stdout as NodeJS.ReadableStream)) {
        if (line.includes('Ready to accept connections')) return child.stdout?.resume() && undefined
      }
      throw new Error('redis-server has not started')
    },
    async kill() {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
      const exit = once(child, 'exit')
      child.kill('SIGKILL')
      await exit
    },
    signal: (signal) => void child?.kill(signal),
    async ask(...command) {
      const { stdout } = await promisify(execFile)('redis-cli', ['-p', `${port}`, ...cli, ...command])
      return stdout.trim()
    },
  }
  t.after(async () => {
    await server.kill()
    rmSync(dir, { recursive: true, force: true })
  })
  await server.start()
  return server
}

/** Starts a cluster of three primaries, and of a replica of each if there are to be. */
export async function startCluster(
  t: Test,
  replicas: 0 | 1 = 0,
): Promise<{ url: string; servers: Server[] }> {
  const nodes = 3 * (1 + replicas)
  const buses = await freePorts(nodes)
  const servers = await Promise.all(
    buses.map((bus) =>
      startRedis(t, [
        ...['--cluster-enabled', 'yes', '--cluster-node-timeout', '1000', '--cluster-port', `${bus}`],
        ...['--appendonly', 'yes', '--appendfsync', 'always', '--repl-diskless-sync-delay', '0'],
      ]),
    ),
  )
  const [first, ...others] = servers as [Server, ...Server[]]
  const ranges = [
    [0, 5460],
    [5461, 10_922],
    [10_923, 16_383],
  ] as const
  for (const [i, range] of ranges.entries())
    await servers[i]?.ask('cluster', 'addslotsrange', ...range.map(String))
  for (const [i, { port }] of others.entries())
    await first.ask('cluster', 'meet', '127.0.0.1', `${port}`, `${buses[i + 1]}`)
  const all = async (condition: RegExp) => {
    const infos = await Promise.all(servers.map(({ ask }) => ask('cluster', 'info')))
    return infos.every((info) => condition.test(info))
  }
  await until(() => all(RegExp(`cluster_known_nodes:${nodes}\\b`)))
  for (const [i, replica] of servers.slice(3).entries()) {
    const id = await (servers[i] as Server).ask('cluster', 'myid')
    await until(async () => (await replica.ask('cluster', 'replicate', id)) === 'OK')
    await until(async () => (await replica.ask('info', 'replication')).includes('master_link_status:up'))
  }
  await until(() => all(/cluster_state:ok/))
  const addresses = servers.slice(0, 3).map(({ port }) => `127.0.0.1:${port}`)
  return { url: `redis+cluster://${addresses.join(',')}`, servers }
}

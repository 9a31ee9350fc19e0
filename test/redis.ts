/** Real servers for tests: Redis, or a cluster of three of them. */
import { type ChildProcess, execFile, execFileSync, spawn, spawnSync } from 'node:child_process'
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

/** A directory with a certificate for 127.0.0.1, the authority that has signed it, and another one: made by openssl. */
export function certificates(t: Test): string {
  const dir = t.testdir({ 'san.cnf': 'subjectAltName=IP:127.0.0.1' })
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: dir, stdio: 'pipe' })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  for (const authority of ['ca', 'other'])
    openssl(
      'req',
      '-x509',
      ...key,
      '-subj',
      `/CN=${authority}`,
      '-keyout',
      `${authority}.key`,
      '-out',
      `${authority}.crt`,
    )
  openssl('req', ...key, '-subj', '/CN=localhost', '-keyout', 'server.key', '-out', 'server.csr')
  const signing = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'san.cnf']
  openssl('x509', '-req', '-in', 'server.csr', ...signing, '-out', 'server.crt')
  return dir
}

/** What makes a server listen for TLS too, without asking for certificates of clients. */
export const tlsArguments = (dir: string, port: number) => [
  ...['--tls-port', `${port}`, '--tls-auth-clients', 'no', '--tls-ca-cert-file', `${dir}/ca.crt`],
  ...['--tls-cert-file', `${dir}/server.crt`, '--tls-key-file', `${dir}/server.key`],
]

export interface ClusterOptions {
  /** Of each primary. */
  replicas?: 0 | 1
  /** A directory of {@link certificates}: then the cluster is for TLS, among its servers too. */
  tls?: string
  password?: string
}

/** Starts a cluster of three primaries. */
export async function startCluster(
  t: Test,
  { replicas = 0, tls, password }: ClusterOptions = {},
): Promise<{ url: string; servers: Server[] }> {
  const nodes = 3 * (1 + replicas)
  const [buses, tlsPorts] = await Promise.all([freePorts(nodes), freePorts(nodes)])
  const secret = password === undefined ? [] : ['--requirepass', password, '--masterauth', password]
  const cli = password === undefined ? [] : ['--pass', password, '--no-auth-warning']
  const servers = await Promise.all(
    buses.map((bus, i) => {
      const tlsPort = tlsPorts[i] as number
      const encryption = tls === undefined ? [] : [...tlsArguments(tls, tlsPort), '--tls-cluster', 'yes']
      return startRedis(
        t,
        [
          ...['--cluster-enabled', 'yes', '--cluster-node-timeout', '1000', '--cluster-port', `${bus}`],
          ...['--appendonly', 'yes', '--appendfsync', 'always', '--repl-diskless-sync-delay', '0'],
          ...[...encryption, ...secret],
        ],
        cli,
      )
    }),
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
  const ports = tls === undefined ? servers.map(({ port }) => port) : tlsPorts
  const addresses = ports.slice(0, 3).map((port) => `127.0.0.1:${port}`)
  return { url: `${tls === undefined ? 'redis' : 'rediss'}+cluster://${addresses.join(',')}`, servers }
}

/** What a log says of the engine's going and coming; a refusal, of which one a minute is logged, has a status code. */
export const messages = (lines: Record<string, unknown>[]) =>
  lines.filter(({ msg, statusCode }) => /^storage engine/.test(`${msg}`) && !statusCode).map(({ msg }) => msg)

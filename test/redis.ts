/** Real servers for tests: Redis, or a cluster of three of them. */
import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { Answers } from '../src/store/redis/answers.ts'
import { until } from './helper.ts'
import { freePorts, lacking, outputOf, start, stop, temporaryDirectory } from './process.ts'

/** Whether redis-server is installed. Without it the file is skipped, and in CI it fails. */
export function hasRedis(t: Test): boolean {
  const missing = lacking('redis-server')
  if (missing) t.plan(0, `skipped: ${missing}`)
  return !missing
}

/** Lifts the time limits of the engine during a test, because a busy machine would exceed them. */
export function waitForEngine(t: Test): void {
  const { within } = Answers.prototype
  // `t.intercept` would keep a stack trace of each call.
  Answers.prototype.within = (_limitMs, answer) => answer
  t.teardown(() => {
    Answers.prototype.within = within
  })
}

export interface Server {
  readonly port: number
  readonly url: string
  /**
   * Starts the server again on the same port and directory, and waits until it accepts connections.
   */
  start(): Promise<void>
  /** Kills the server, as a power cut would. */
  kill(): Promise<void>
  signal(signal: NodeJS.Signals): void
  /** Sends a command with redis-cli. */
  ask(...command: string[]): Promise<string>
}

/** Starts a redis-server on a free port, which ends with the test. */
export async function startRedis(t: Test, args: string[] = [], cli: string[] = []): Promise<Server> {
  const [port = 0] = await freePorts(1)
  const directory = temporaryDirectory('storage-api-redis')
  let child: ChildProcess | undefined
  const server: Server = {
    port,
    url: `redis://127.0.0.1:${port}`,
    async start() {
      const fixed = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--dir', directory.path]
      child = start(['redis-server', ...fixed, ...args])
      for await (const line of createInterface(child.stdout as NodeJS.ReadableStream)) {
        if (line.includes('Ready to accept connections')) return child.stdout?.resume() && undefined
      }
      throw new Error('redis-server has not started')
    },
    async kill() {
      if (child !== undefined) await stop(child)
    },
    signal: (signal) => void child?.kill(signal),
    async ask(...command) {
      return (await outputOf(['redis-cli', '-p', `${port}`, ...cli, ...command])).trim()
    },
  }
  t.after(async () => {
    await server.kill()
    directory.remove()
  })
  await server.start()
  return server
}

/**
 * A directory with a certificate for 127.0.0.1, the authority that has signed it, and another
 * authority. openssl makes them.
 */
export async function certificates(t: Test): Promise<string> {
  const dir = t.testdir({ 'san.cnf': 'subjectAltName=IP:127.0.0.1' })
  const openssl = (...args: string[]) => outputOf(['openssl', ...args], { cwd: dir })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  for (const name of ['ca', 'other']) {
    const files = ['-keyout', `${name}.key`, '-out', `${name}.crt`]
    await openssl('req', '-x509', ...key, '-subj', `/CN=${name}`, ...files)
  }
  await openssl('req', ...key, '-subj', '/CN=localhost', '-keyout', 'server.key', '-out', 'server.csr')
  const signing = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'san.cnf']
  await openssl('x509', '-req', '-in', 'server.csr', ...signing, '-out', 'server.crt')
  return dir
}

/** The arguments with which a server also listens for TLS, and requires no client certificates. */
export const tlsArguments = (dir: string, port: number) => [
  ...['--tls-port', `${port}`, '--tls-auth-clients', 'no', '--tls-ca-cert-file', `${dir}/ca.crt`],
  ...['--tls-cert-file', `${dir}/server.crt`, '--tls-key-file', `${dir}/server.key`],
]

export interface ClusterOptions {
  /** The number of replicas of each primary. */
  replicas?: 0 | 1
  /**
   * A directory of {@link certificates}. With it the cluster uses TLS, also between its servers.
   */
  tls?: string
  password?: string
}

/**
 * After this time without an answer a server counts as failed. A busy machine must not cause this.
 */
const NODE_TIMEOUT_MS = '5000'

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
          ...[
            '--cluster-enabled',
            'yes',
            '--cluster-node-timeout',
            NODE_TIMEOUT_MS,
            '--cluster-port',
            `${bus}`,
          ],
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

/**
 * The log messages about the state of the engine. Lines with a status code are refusals, which are
 * left out.
 */
export const messages = (lines: Record<string, unknown>[]) =>
  lines.filter(({ msg, statusCode }) => /^storage engine/.test(`${msg}`) && !statusCode).map(({ msg }) => msg)

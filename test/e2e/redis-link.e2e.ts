/**
 * Tests the service with a Redis behind a network that large objects fill. The network has 1
 * Gbit/s, or 60 % of what the machine can carry through the service. `LOADS` selects some of the
 * loads, separated by commas.
 */
import type { ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { parsePage, send, until } from '../helper.ts'
import { holdLimits, limit } from '../limits.ts'
import { type LimitedLink, startLink } from '../link.ts'
import { freePorts, outputOf, start, stop } from '../process.ts'
import { startRedis } from '../redis.ts'
import { type Kind, pathOf, Requests, startRequests } from './requests.ts'
import { requireTool } from './require-tool.ts'

requireTool('redis-server', '--version')

const GIGABIT_BYTES_PER_SECOND = 125_000_000

/**
 * The network's share of what the machine can carry. With more, the processor would be the limit.
 */
const SHARE_OF_MACHINE = 0.6

/** The highest p99 duration of small requests over 1 Gbit/s, in milliseconds. */
const SMALL_LIMIT_MS = 100

/**
 * How long the machine is measured, how long the load warms up, and how long the load is measured.
 */
const MACHINE_MS = 4000
const PAUSE_MS = 2000
const LOAD_MS = 8000
/** How often the share of the link is measured, if it is too small. */
const WINDOWS = 3

const MIB = 2 ** 20
const MAX_STORE_BYTES = 640 * MIB

/**
 * The most memory that the process uses in addition to objects, in bytes, with uncollected garbage.
 */
const OWN_BYTES = 200 * MIB

const kind = (clients: number, method: Kind['method'], bytes: number): Kind => ({ clients, method, bytes })

const SMALL = [kind(2, 'GET', 1), kind(2, 'PUT', 100)]

const LOADS: Record<string, Kind[]> = {
  '8 that GET 16 MiB': [kind(8, 'GET', 16 * MIB)],
  '32 that GET 16 MiB': [kind(32, 'GET', 16 * MIB)],
  '96 that GET 1 MiB': [kind(96, 'GET', MIB)],
  '8 that PUT 16 MiB': [kind(8, 'PUT', 16 * MIB)],
  '32 that PUT 16 MiB': [kind(32, 'PUT', 16 * MIB)],
  'a mix': [kind(8, 'GET', 16 * MIB), kind(8, 'PUT', 16 * MIB), kind(32, 'GET', MIB), kind(32, 'PUT', MIB)],
}

const DIRECTIONS = [
  ['down', 'GET'],
  ['up', 'PUT'],
] as const

async function startService(t: Test, redisPort: number) {
  const [port = 0] = await freePorts(1)
  const child = start([process.execPath, '--expose-gc', 'dist/server.js'], {
    env: {
      ...{ HOST: '127.0.0.1', PORT: `${port}`, DRAIN_SECONDS: '0' },
      ...{ MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: `${128 * 1024}` },
      ...{ STORAGE_URL: `redis://127.0.0.1:${redisPort}`, MAX_STORE_BYTES: `${MAX_STORE_BYTES}` },
    },
  })
  t.after(() => stop(child))
  const log: string[] = []
  createInterface(child.stdout as NodeJS.ReadableStream).on('line', (line) => log.push(line))
  const isReady = async () => (await send({ port, path: '/readyz' })).statusCode === 200
  await until(() => isReady().catch(() => false))
  return { port, child, log }
}

const peakBytes = ({ pid }: ChildProcess) =>
  1024 * Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1])

/** Measures for this time how many bytes per second the link carries in each direction. */
async function rates(link: LimitedLink, ms: number) {
  const before = await link.counts()
  const begun = performance.now()
  await sleep(ms)
  const after = await link.counts()
  const seconds = (performance.now() - begun) / 1000
  return {
    down: (after.down - before.down) / seconds,
    up: (after.up - before.up) / seconds,
    connections: after.connections,
  }
}

await outputOf(['npm', 'run', '--silent', 'build'])
holdLimits()

for (const name of process.env.LOADS?.split(',') ?? Object.keys(LOADS)) {
  const kinds = LOADS[name] as Kind[]
  t.test(name, async (t) => {
    const server = await startRedis(t)
    const link = await startLink(t, server.port)
    const { port, child, log } = await startService(t, link.port)
    for (const each of [...kinds, ...SMALL])
      for (let i = 0; i < each.clients; i++) {
        const path = pathOf(each, i)
        t.equal((await send({ port, method: 'PUT', path }, Buffer.alloc(each.bytes))).statusCode, 201)
      }
    const used = DIRECTIONS.filter(([, method]) => kinds.some((each) => each.method === method))
    const large = await startRequests(port, kinds)
    const machine = await rates(link, MACHINE_MS)
    const machineBytesPerSecond = Math.min(...used.map(([direction]) => machine[direction]))
    const bytesPerSecond = Math.min(GIGABIT_BYTES_PER_SECOND, SHARE_OF_MACHINE * machineBytesPerSecond)
    t.comment(
      `a network of ${Math.round(bytesPerSecond / 1e6)} MB/s, a machine of ${Math.round(machineBytesPerSecond / 1e6)}`,
    )
    link.limit(bytesPerSecond)
    await sleep(PAUSE_MS)

    let isOver = false
    const limitMs = (SMALL_LIMIT_MS * GIGABIT_BYTES_PER_SECOND) / bytesPerSecond
    const small = SMALL.map(async (each) => {
      const timed = limit(t, limitMs, `99 % of ${each.method} of ${each.bytes} B`, 0.01)
      const statusCodes = new Set<number>()
      const loop = async (client: number) => {
        const requests = new Requests(port, each, client)
        while (!isOver) statusCodes.add(await timed.time(() => requests.send()))
        requests.close()
      }
      await Promise.all(Array.from({ length: each.clients }, (_, client) => loop(client)))
      t.strictSame(statusCodes, new Set([each.method === 'GET' ? 200 : 204]))
      await timed.judge()
    })
    const ready = new Set<number>()
    const readiness = (async () => {
      while (!isOver) {
        ready.add((await send({ port, path: '/readyz' })).statusCode)
        await sleep(100)
      }
    })()
    const before = await link.counts()
    // What else the machine does can only lower the share, so the best of some windows counts.
    const shares: number[] = []
    let connections: number
    do {
      const carried = await rates(link, LOAD_MS)
      connections = carried.connections
      shares.push(Math.min(...used.map(([direction]) => carried[direction] / bytesPerSecond)))
    } while (Math.max(...shares) < 0.9 && shares.length < WINDOWS)
    isOver = true
    await Promise.all([...small, readiness])
    const statusCodes = await large.stop()
    t.comment(kinds.map((each, i) => `${JSON.stringify(each)}: ${JSON.stringify(statusCodes[i])}`).join(', '))
    const percents = shares.map((share) => `${(100 * share).toFixed(1)} %`)
    t.ok(Math.max(...shares) >= 0.9, `${percents.join(', ')} of the link`)
    t.equal(connections, before.connections, 'no connection is replaced')
    t.strictSame(ready, new Set([200]))
    t.notMatch(log.join('\n'), /does not answer|unreachable/)
    const metrics = parsePage(`${(await send({ port, path: '/metrics' })).body}`)
    const megabytes = Math.round(peakBytes(child) / MIB)
    t.ok(peakBytes(child) <= MAX_STORE_BYTES + OWN_BYTES, `${megabytes} MiB at most`)
    t.comment(`${metrics.storage_engine_refused_total} refused, ${megabytes} MiB`)
  })
}

import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import type { Readable } from 'node:stream'
import t from 'tap'
import { type Comparison, type Round, run } from '../../scripts/bench/compare.ts'
import { CONTENDERS } from '../../scripts/bench/contenders.ts'
import { machineMicroseconds, ownMicroseconds } from '../../scripts/bench/process.ts'
import { doubts, ratios } from '../../scripts/bench/report.ts'
import type { WorkloadName } from '../../scripts/bench/workloads.ts'
import { build, exchange, listen, until } from '../helper.ts'
import { outputOf, start, stop } from '../process.ts'

/** One request for each response of the workloads. */
const REQUESTS = [
  ['PUT /api/buckets/a', 'Content-Length: 5', 'first'],
  ['PUT /api/buckets/a', 'Content-Length: 6', 'second'],
  ['PUT /api/buckets/a', 'If-None-Match: *\r\nContent-Length: 5', 'third'],
  ['PUT /api/buckets/b', 'Content-Length: 1', 'b'],
  ['GET /api/buckets/a', 'X: x'],
  ['GET /api/buckets/a', 'If-None-Match: *'],
  ['GET /api/buckets/a', 'Range: bytes=1-3'],
  ['GET /api/buckets/none', 'X: x'],
  ['GET /api/buckets', 'X: x'],
  ['DELETE /api/buckets/a', 'X: x'],
  ['DELETE /api/buckets/a', 'X: x'],
].map(([line, headers, body = '']) => `${line} HTTP/1.1\r\nHost: a\r\n${headers}\r\n\r\n${body}`)

/** Ends the connection after another request, whose answer so keeps its connection open. */
const LAST = 'GET /api/buckets/none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'

/**
 * The answers to {@link REQUESTS}, as they are, except for what is never the same: request ids and
 * times.
 */
async function answers(port: number): Promise<string> {
  let bytes = ''
  for (const request of REQUESTS) bytes += await exchange(port, request, LAST)
  return bytes
    .replace(/(x-request-id:) .*/g, '$1')
    .replace(/(Date:) .*/g, '$1')
    .replace(/("modified":)\d+/g, '$1')
}

for (const name of ['contract floor', 'framework floor'] as const) {
  t.test(`the ${name} sends what the service sends, byte for byte`, async (t) => {
    const floor = await run(name, CONTENDERS[name])
    t.after(() => floor && stop(floor.child))
    t.equal(await answers(floor?.port as number), await answers(await listen(build(t))))
  })
}

const COPY = 'storage-api, a second copy'

/** A comparison of three contenders with one round each, in microseconds. */
function comparison(us: Record<string, number>, status = '200', othersCores = 0): Comparison {
  const round = (cpuMicroseconds: number): Round => ({
    cpuMicroseconds,
    requests: 10,
    requestsPerSecond: 1e6 / cpuMicroseconds,
    p50Ms: 1,
    p99Ms: 1,
    answers: { [status]: 10 },
  })
  const rounds = Object.entries(us).map(([name, cpu]): [string, Round[]] => [name, [round(cpu)]])
  return { rounds: Object.fromEntries(rounds), othersCores }
}

const QUIET = { 'storage-api': 20, nginx: 10, [COPY]: 21 }
const doubtsOf = (comparison: Comparison, workload: WorkloadName = 'GET 100 B') =>
  doubts(new Map([[workload, comparison]]), COPY)

t.test('figures are doubted if the copies differ, other programs ran, or an answer was wrong', async (t) => {
  t.strictSame(doubtsOf(comparison(QUIET)), [])
  t.match(doubtsOf(comparison({ ...QUIET, [COPY]: 25 })), [/GET 100 B: two copies .* differ by 20 %/])
  t.match(doubtsOf(comparison({ ...QUIET, [COPY]: 17 })), [/differ by 18 %/])
  t.match(doubtsOf(comparison(QUIET, '200', 0.5)), [/GET 100 B: other programs used 50 % of a core/])
  t.match(doubtsOf(comparison(QUIET, '503')), [/GET 100 B: nginx answered 10 times 503/])
  t.strictSame(doubtsOf(comparison(QUIET, '404'), 'GET 404'), [])
  t.match(doubtsOf(comparison(QUIET), 'GET 404'), [/storage-api answered 10 times 200/])
})

t.test('a ratio is missing where a contender cannot do the workload', async (t) => {
  const comparisons = new Map<WorkloadName, Comparison>([
    ['GET 100 B', comparison(QUIET)],
    ['GET 304', comparison({ 'storage-api': 20, [COPY]: 20 })],
  ])
  const [cpu = '', requests = ''] = ratios(comparisons)
  t.match(cpu, '| GET 100 B | 2.00 | 0.95 |\n| GET 304 |  | 1.00 |')
  t.match(requests, '| GET 100 B | 0.50 | 1.05 |\n| GET 304 |  | 1.00 |')
})

t.test('the time of other programs is that of the machine without our own', async (t) => {
  const before = { machine: machineMicroseconds(), own: ownMicroseconds() }
  const end = performance.now() + 200
  while (performance.now() < end) {}
  const own = ownMicroseconds() - before.own
  t.ok(own > 0)
  t.ok(machineMicroseconds() - before.machine > 0)
  t.equal(machineMicroseconds('cpu  1 2 4 100 200 8 16 32 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n'), 63 * 10_000)
})

t.test('another revision is built in a folder that goes with the process', async (t) => {
  const script = `
    import { existsSync } from 'node:fs'
    import { buildCheckout } from './scripts/bench/checkout.ts'
    const path = await buildCheckout('HEAD')
    console.log(path)
    console.log(await buildCheckout(path))
    console.log(existsSync(path + '/dist/server.js'))
  `
  const printed = await outputOf([process.execPath, '--input-type=module', '--eval', script])
  const [path = '', again, isBuilt] = printed.trim().split('\n')
  t.strictSame([again, isBuilt], [path, 'true'])
  await until(() => !existsSync(path))
})

t.test('a benchmark that is interrupted leaves no folder behind', async (t) => {
  const TMPDIR = t.testdir()
  const args = ['--contenders', 'contract floor', '--workloads', 'GET 404', '--against', 'HEAD']
  const benchmark = start([process.execPath, 'scripts/bench/http.ts', ...args], {
    env: { TMPDIR },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  t.after(() => stop(benchmark))
  // It says so when its servers listen.
  await once(benchmark.stderr as Readable, 'data')
  // npm has a cache there too.
  const folders = () => readdirSync(TMPDIR).filter((name) => name.startsWith('bench-')).length
  t.equal(folders(), 1)
  benchmark.kill('SIGINT')
  await until(() => folders() === 0)
})

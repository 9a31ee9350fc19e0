import { setImmediate } from 'node:timers/promises'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { loadConfig } from '../../src/plugins/config.ts'
import errors from '../../src/plugins/errors.ts'
import overload, { type OverloadOptions } from '../../src/plugins/overload.ts'
import { until } from '../helper.ts'

const TARGET_MS = 200
const INTERVAL_MS = 500
const MAX_WORK_MS = 100

/**
 * After this time a queue is a standing queue. The first request above the target comes at most
 * MAX_WORK_MS later.
 */
const STANDING_MS = TARGET_MS + MAX_WORK_MS + INTERVAL_MS

/** Requests that take this time together. None takes longer than the time that counts as work. */
const working = (milliseconds: number): number[] =>
  milliseconds > MAX_WORK_MS ? [MAX_WORK_MS, ...working(milliseconds - MAX_WORK_MS)] : [milliseconds]

/**
 * An application with a route under the plugin, `/MILLISECONDS`, which takes so long by a clock
 * that stands still otherwise, and one that is not, `/exempt`.
 */
function guarded(t: Test, options: OverloadOptions = {}) {
  let now = 0
  const app = Fastify()
  t.after(() => app.close())
  app.register(errors)
  app.get('/exempt', () => 'ok')
  app.register(async (scope) => {
    scope.register(overload, {
      ...{ targetMs: TARGET_MS, intervalMs: INTERVAL_MS, maxWorkMs: MAX_WORK_MS },
      ...{ sampleIntervalMs: 20, now: () => now },
      ...options,
    })
    scope.get<{ Params: { milliseconds: string } }>('/:milliseconds', (request) => {
      now += Number(request.params.milliseconds)
      return 'ok'
    })
  })
  /**
   * The status codes of requests that arrive in one turn of the event loop. The argument is how
   * long each takes.
   */
  async function turn(...milliseconds: number[]): Promise<number[]> {
    const answers = await Promise.all(milliseconds.map((duration) => app.inject(`/${duration}`)))
    await setImmediate()
    return answers.map(({ statusCode }) => statusCode)
  }
  /** The status codes of the last requests of a turn. The earlier ones take this time together. */
  async function turnAfter(work: number, ...milliseconds: number[]): Promise<number[]> {
    return (await turn(...working(work), ...milliseconds)).slice(-milliseconds.length)
  }
  return { app, turn, turnAfter }
}

t.test(
  'a queue whose shortest wait is above the target for an interval is cut down to the target',
  async (t) => {
    const { app, turnAfter } = guarded(t)
    await app.ready()
    t.strictSame(await turnAfter(STANDING_MS, 1, 1, 1), [200, 503, 503], 'within a turn')
    t.strictSame(await turnAfter(TARGET_MS, 1, 1, 1), [200, 503, 503], 'in the next turn')
    t.strictSame(await turnAfter(TARGET_MS - 1, 0), [200])
    t.strictSame(await turnAfter(STANDING_MS, 1), [200], 'a turn below the target ends it')
  },
)

t.test('a queue that stands over several turns is a standing queue', async (t) => {
  const { app, turnAfter } = guarded(t)
  await app.ready()
  const long = TARGET_MS + 1
  t.strictSame(await turnAfter(long, 1), [200])
  t.strictSame(await turnAfter(long, 1), [200])
  t.strictSame(await turnAfter(long, 1), [200])
  t.strictSame(await turnAfter(long, 1), [503])
})

t.test('a pause of the process, however long, is no overload: its backlog is served', async (t) => {
  const { app, turn } = guarded(t)
  await app.ready()
  for (let pause = 0; pause < 20; pause++) {
    t.strictSame(await turn(1, 5000, 1, 1, 1), [200, 200, 200, 200, 200])
    t.strictSame(await turn(1, 1), [200, 200])
  }
})

t.test('pauses of one turn after another are no overload either', async (t) => {
  const { app, turn } = guarded(t)
  await app.ready()
  for (let pause = 0; pause < 20; pause++)
    t.strictSame(await turn(5000, ...working(TARGET_MS - MAX_WORK_MS), 0), [200, 200, 200])
})

t.test('a turn without a request ends the interval, because nothing waits', async (t) => {
  const { app, turnAfter } = guarded(t)
  await app.ready()
  for (let pause = 0; pause < 3; pause++) {
    t.strictSame(await turnAfter(STANDING_MS, 1), [200])
    await setImmediate()
  }
})

t.test('a refusal is 503 with Retry-After, and the log says when it begins and ends', async (t) => {
  const { app, turn } = guarded(t)
  const logged = t.capture(app.log, 'warn')
  await app.ready()
  const urls = working(STANDING_MS + 1).map((milliseconds) => `/${milliseconds}`)
  const answers = await Promise.all([...urls, '/1', '/exempt'].map((url) => app.inject(url)))
  const [late, exempt] = answers.slice(-2)
  t.equal(late?.statusCode, 503)
  t.equal(late?.headers['retry-after'], '1')
  t.strictSame(late?.json(), { error: 'overloaded: retry later' })
  t.equal(exempt?.statusCode, 200)
  await setImmediate()
  t.strictSame(await turn(1), [200])

  const lines: unknown[][] = []
  await until(() => {
    lines.push(...logged.args().filter(([fields]) => Object.hasOwn(fields as object, 'refused')))
    return lines.length === 2
  })
  t.match(lines, [
    [{ refused: 1, heapUsedBytes: Number }, 'overloaded'],
    [{ refused: 0 }, 'not overloaded any more'],
  ])
})

t.test('a heap near its limit is 503, and the log says so once', async (t) => {
  const { app } = guarded(t, { maxHeapUsedBytes: 1 })
  const logged = t.capture(app.log, 'warn')
  await until(async () => (await app.inject('/0')).statusCode === 503)
  t.match(logged.args(), [[{ heapUsedBytes: Number }, 'overloaded']])
  t.equal((await app.inject('/exempt')).statusCode, 200)
})

t.test('under pressure the storage routes are 503, probes and scrapes are not', async (t) => {
  const { default: overload } = await t.mockImport<typeof import('../../src/plugins/overload.ts')>(
    '../../src/plugins/overload.ts',
    { 'node:v8': { getHeapStatistics: () => ({ used_heap_size: 2, heap_size_limit: 1 }) } },
  )
  const { buildApp } = await t.mockImport<typeof import('../../src/app.ts')>('../../src/app.ts', {
    '../../src/plugins/overload.ts': overload,
  })
  const app = buildApp(loadConfig({ LOG_LEVEL: 'silent' }))
  t.after(() => app.close())
  await until(async () => (await app.inject('/api/buckets/a')).statusCode === 503)
  for (const url of ['/livez', '/readyz', '/metrics']) t.equal((await app.inject(url)).statusCode, 200, url)
})

import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { loadConfig } from '../../src/plugins/config.ts'
import errors from '../../src/plugins/errors.ts'
import overload, { type OverloadOptions } from '../../src/plugins/overload.ts'
import { until } from '../helper.ts'

/** An application with a route under the plugin, `/`, and one that is not, `/exempt`. */
function guarded(t: Test, options: OverloadOptions) {
  const app = Fastify()
  t.after(() => app.close())
  app.register(errors)
  app.get('/exempt', () => 'ok')
  app.register(async (scope) => {
    scope.register(overload, { sampleIntervalMs: 20, ...options })
    scope.get('/', () => 'ok')
  })
  return app
}

t.test('an event loop that lags is 503 with Retry-After, and recovers by itself', async (t) => {
  const app = guarded(t, { maxEventLoopDelayMs: 30 })
  const status = async () => (await app.inject('/')).statusCode
  await until(async () => (await status()) === 200)
  const blocking = setInterval(() => {
    const end = performance.now() + 100
    while (performance.now() < end);
  }, 1)
  await until(async () => (await status()) === 503)
  const { headers, payload } = await app.inject('/')
  t.equal(headers['retry-after'], '1')
  t.strictSame(JSON.parse(payload), { error: 'overloaded: retry later' })
  t.equal((await app.inject('/exempt')).statusCode, 200)
  clearInterval(blocking)
  await until(async () => (await status()) === 200)
})

t.test('a time without a single turn of the event loop is a delay of as long', async (t) => {
  const delays = { enable() {}, disable() {}, reset() {}, mean: Number.NaN }
  const { default: overload } = await t.mockImport<typeof import('../../src/plugins/overload.ts')>(
    '../../src/plugins/overload.ts',
    { 'node:perf_hooks': { monitorEventLoopDelay: () => delays } },
  )
  const app = Fastify()
  t.after(() => app.close())
  const logged = t.capture(app.log, 'warn')
  app.register(overload, { sampleIntervalMs: 20, maxEventLoopDelayMs: 10 })
  await app.ready()
  let calls: unknown[][] = []
  await until(() => {
    calls = logged.args()
    return calls.length > 0
  })
  const [[warning]] = calls as [[{ eventLoopDelayMs: number }]]
  t.ok(warning.eventLoopDelayMs > 10, `${warning.eventLoopDelayMs} ms`)
})

t.test('a heap near its limit is 503, and the log says so once', async (t) => {
  const app = guarded(t, { maxHeapUsedBytes: 1 })
  const logged = t.capture(app.log, 'warn')
  await until(async () => (await app.inject('/')).statusCode === 503)
  t.match(logged.args(), [[{ eventLoopDelayMs: Number, heapUsedBytes: Number }, 'overloaded']])
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

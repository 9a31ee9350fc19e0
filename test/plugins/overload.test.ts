import { setImmediate } from 'node:timers/promises'
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
    scope.get('/slow', () => {
      const end = performance.now() + 100
      while (performance.now() < end);
      return 'ok'
    })
  })
  return app
}

t.test(
  'what has waited too long for its turn is 503 with Retry-After, and what comes after it is not',
  async (t) => {
    const app = guarded(t, { maxWaitMs: 30 })
    const logged = t.capture(app.log, 'warn')
    await app.ready()
    const [slow, late, exempt] = await Promise.all(['/slow', '/', '/exempt'].map((url) => app.inject(url)))
    t.equal(slow?.statusCode, 200)
    t.equal(late?.statusCode, 503)
    t.equal(late?.headers['retry-after'], '1')
    t.strictSame(late?.json(), { error: 'overloaded: retry later' })
    t.equal(exempt?.statusCode, 200)
    await setImmediate()
    t.equal((await app.inject('/')).statusCode, 200)

    const lines: unknown[][] = []
    await until(() => {
      lines.push(...logged.args().filter(([fields]) => Object.hasOwn(fields as object, 'refused')))
      return lines.length === 2
    })
    t.match(lines, [
      [{ refused: 1, heapUsedBytes: Number }, 'overloaded'],
      [{ refused: 0 }, 'not overloaded any more'],
    ])
  },
)

t.test('a heap near its limit is 503, and the log says so once', async (t) => {
  const app = guarded(t, { maxHeapUsedBytes: 1 })
  const logged = t.capture(app.log, 'warn')
  await until(async () => (await app.inject('/')).statusCode === 503)
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

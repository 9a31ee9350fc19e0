import t, { type Test } from 'tap'
import type { RedisStoreOptions } from '../../src/store/redis/redis.ts'
import type { StoreStats } from '../../src/store/store.ts'
import { build, scrape } from '../helper.ts'

/** An application on an engine over a network. The test itself is the engine. */
async function buildRemote(t: Test, engine: { trouble?: string; stats(): Promise<StoreStats> }) {
  let options: RedisStoreOptions | undefined
  const open = async (given: RedisStoreOptions) => {
    options = given
    return { engine: 'rediss', trouble: undefined, close() {}, ...engine }
  }
  const { default: plugin } = await t.mockImport<typeof import('../../src/plugins/store.ts')>(
    '../../src/plugins/store.ts',
    { '../../src/store/redis/redis.ts': { OPERATIONS: ['get', 'put'], RedisStore: { open } } },
  )
  const { buildApp } = await t.mockImport<typeof import('../../src/app.ts')>('../../src/app.ts', {
    '../../src/plugins/store.ts': { default: plugin },
  })
  const { loadConfig } = await import('../../src/plugins/config.ts')
  const env = { LOG_LEVEL: 'silent', STORAGE_URL: 'rediss://user:secret@a:1/2', STORAGE_KEY_PREFIX: 'p:' }
  const app = buildApp(loadConfig(env))
  t.after(() => app.close())
  await app.ready()
  return { app, options: options as unknown as RedisStoreOptions }
}

t.test('an engine over a network gets its settings, and shows what it does and how it is', async (t) => {
  let asked = 0
  const stats = async () => {
    asked++
    return { objects: 3, bytes: 1000, bytesLimit: undefined }
  }
  const { app, options } = await buildRemote(t, { stats })
  t.match(options, {
    ...{ engine: 'rediss', username: 'user', password: 'secret', database: 2, keyPrefix: 'p:' },
    ...{ addresses: [{ host: 'a', port: 1 }], maxObjectBytes: 16_777_216, limitBytes: Number },
  })
  options.observe('get', 0.02, 0.005)
  options.onRefused()
  const series = await scrape(app)
  t.equal(asked, 1, 'once a scrape')
  t.match(series, {
    ...{ storage_objects: 3, storage_bytes: 1000, storage_bytes_limit: undefined, storage_engine_up: 1 },
    'storage_engine_duration_seconds_bucket{le="0.001",operation="get"}': 0,
    'storage_engine_duration_seconds_bucket{le="0.01",operation="get"}': 1,
    'storage_engine_duration_seconds_count{operation="put"}': 0,
    'storage_engine_queue_seconds_bucket{le="0.01",operation="get"}': 0,
    'storage_engine_queue_seconds_bucket{le="0.1",operation="get"}': 1,
    storage_engine_refused_total: 1,
  })
  t.ok(Object.keys(series).some((name) => /^storage_api_build_info.*engine="rediss"/.test(name)))
  t.notMatch(JSON.stringify(series), /secret/)
  t.equal((await app.inject('/readyz')).statusCode, 200)
})

t.test('an engine in trouble is not ready, and leaves the rest of a scrape', async (t) => {
  const trouble = 'storage engine is unreachable'
  const stats = () => Promise.reject(new Error(trouble))
  const { app } = await buildRemote(t, { trouble, stats })
  const series = await scrape(app)
  t.match(series, { storage_engine_up: 0, storage_objects: undefined, http_requests_in_flight: 0 })
  const { statusCode, payload } = await app.inject('/readyz')
  t.strictSame([statusCode, JSON.parse(payload)], [503, { error: trouble }])
  t.equal((await app.inject('/livez')).statusCode, 200)
})

t.test('an engine in this process has no such metrics', async (t) => {
  t.notMatch(Object.keys(await scrape(build(t))).join(), /storage_engine/)
})

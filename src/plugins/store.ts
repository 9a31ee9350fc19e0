import { Counter, Gauge, Histogram } from '@prometheus-io/client'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { CountedStore } from '../store/counted.ts'
import { MemoryStore } from '../store/memory/memory.ts'
import type { Store, StoreStats } from '../store/store.ts'

/** Upper bounds in seconds: a nearby engine, the latency objective, and two for trouble. */
const ENGINE_BUCKETS_SECONDS = [0.001, 0.01, 0.1, 1]

declare module 'fastify' {
  interface FastifyInstance {
    store: Store
  }
}

/**
 * Opens the engine of `STORAGE_URL`. The code of an engine over a network is loaded only if it is
 * used.
 */
async function openStore({ config, log, registry }: FastifyInstance): Promise<Store> {
  const { STORAGE: storage, STORAGE_KEY_PREFIX: keyPrefix } = config
  const { MAX_STORE_BYTES: limitBytes, MAX_OBJECT_BYTES: maxObjectBytes } = config
  if (storage.engine === 'memory') return new MemoryStore({ limitBytes })
  const { OPERATIONS, RedisStore } = await import('../store/redis/redis.ts')
  const histogram = (name: string, help: string) => {
    const buckets = ENGINE_BUCKETS_SECONDS
    const metric = new Histogram({ name, help, labelNames: ['operation'], buckets, registers: [registry] })
    for (const operation of OPERATIONS) metric.zero({ operation })
    return metric
  }
  const durations = histogram(
    'storage_engine_duration_seconds',
    'Duration of operations of the storage engine in seconds, without the time in the queue, whatever their outcome',
  )
  const queues = histogram(
    'storage_engine_queue_seconds',
    'How long operations wait in this process, in seconds, because large objects fill the network to the storage engine',
  )
  const refusals = new Counter({
    name: 'storage_engine_refused_total',
    help: 'Transfers of large objects that were rejected because they waited too long',
    registers: [registry],
  })
  const store = await RedisStore.open({
    ...{ ...storage, keyPrefix, limitBytes, maxObjectBytes, log },
    observe(operation, queueSeconds, seconds) {
      queues.observe({ operation }, queueSeconds)
      durations.observe({ operation }, seconds)
    },
    onRefused: () => refusals.inc(),
  })
  new Gauge({
    name: 'storage_engine_up',
    help: 'Whether the storage engine can be used (1) or not (0), checked every half a second',
    registers: [registry],
    collect() {
      this.set(store.trouble === undefined ? 1 : 0)
    },
  })
  return store
}

const plugin: FastifyPluginAsync = async (app) => {
  const store = new CountedStore(await openStore(app))
  app.decorate('store', store)
  app.addHook('onClose', () => store.close())

  const registers = [app.registry]
  new Counter({
    name: 'storage_operations_total',
    help: 'Storage operations by operation and outcome',
    labelNames: ['operation', 'outcome'],
    registers,
    collect() {
      this.reset()
      for (const [operation, outcomes] of Object.entries<Record<string, number>>({ ...store.counts })) {
        for (const [outcome, times] of Object.entries(outcomes)) this.inc({ operation, outcome }, times)
      }
    },
  })

  let asked: Promise<StoreStats | undefined> | undefined
  /**
   * Asks the store once for all gauges of a scrape. If the engine does not answer, the scrape has
   * no such gauges.
   */
  function askStats(): Promise<StoreStats | undefined> {
    asked ??= Promise.resolve()
      .then(() => store.stats())
      .catch(() => undefined)
      .finally(() => {
        asked = undefined
      })
    return asked
  }
  const gauges: [string, keyof StoreStats, string][] = [
    ['storage_objects', 'objects', 'Objects stored'],
    ['storage_bytes', 'bytes', 'Memory that the store takes, in bytes'],
    ['storage_bytes_limit', 'bytesLimit', 'The limit of storage_bytes, where there is one'],
  ]
  for (const [name, stat, help] of gauges) {
    new Gauge({
      name,
      help,
      registers,
      async collect() {
        const value = (await askStats())?.[stat]
        if (value === undefined) this.remove()
        else this.set(value)
      },
    })
  }
}

/**
 * Decorates the application with `store`, the engine of `STORAGE_URL`, and closes it with the
 * application.
 */
export default fp(plugin, { name: 'store', dependencies: ['config', 'metrics'] })

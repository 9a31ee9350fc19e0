import { Counter, Gauge } from '@prometheus-io/client'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { CountedStore } from '../store/counted.ts'
import { MemoryStore } from '../store/memory.ts'
import type { Store, StoreStats } from '../store/store.ts'

declare module 'fastify' {
  interface FastifyInstance {
    store: Store
  }
}

const plugin: FastifyPluginAsync = async (app) => {
  const store = new CountedStore(new MemoryStore({ limitBytes: app.config.MAX_STORE_BYTES }))
  app.decorate('store', store)
  app.addHook('onClose', () => store.close())

  const registers = [app.registry]
  new Counter({
    name: 'storage_operations_total',
    help: 'Storage operations by how they ended',
    labelNames: ['operation', 'outcome'],
    registers,
    collect() {
      this.reset()
      for (const [operation, outcomes] of Object.entries<Record<string, number>>({ ...store.counts })) {
        for (const [outcome, times] of Object.entries(outcomes)) this.inc({ operation, outcome }, times)
      }
    },
  })
  const gauges: [string, keyof StoreStats, string][] = [
    ['storage_objects', 'objects', 'Objects stored'],
    ['storage_bytes', 'bytes', 'Memory that objects, ids, bookkeeping and uploads under way take, in bytes'],
    ['storage_bytes_limit', 'bytesLimit', 'MAX_STORE_BYTES, the limit of storage_bytes'],
  ]
  for (const [name, stat, help] of gauges) {
    new Gauge({
      name,
      help,
      registers,
      async collect() {
        const stats = await store.stats()
        this.set(stats[stat])
      },
    })
  }
}

/** Decorates the application with `store`, the engine that `STORAGE_URL` names, and closes it at the end. */
export default fp(plugin, { name: 'store', dependencies: ['config', 'metrics'] })

import t from 'tap'
import { CountedStore } from '../../src/store/counted.ts'
import { MemoryStore } from '../../src/store/memory.ts'
import type { Store } from '../../src/store/store.ts'

/** An engine that answers later, as one over a network does. */
function remote(store: Store): Store {
  return {
    engine: 'remote',
    get: async (id) => store.get(id),
    put: async (id, bytes) => store.put(id, bytes),
    delete: async (id) => store.delete(id),
    reading: (object) => store.reading(object),
    reserve: (bytes) => store.reserve(bytes),
    release: (bytes) => store.release(bytes),
    stats: async () => store.stats(),
    close: async () => store.close(),
  }
}

t.test('outcomes are counted whether the engine answers at once or later', async (t) => {
  for (const wrap of [(store: Store) => store, remote]) {
    const store = new CountedStore(wrap(new MemoryStore({ limitBytes: 1000 })))
    store.reserve(1)
    await store.put('a', Buffer.alloc(1))
    store.reserve(1)
    await store.put('a', Buffer.alloc(1))
    store.reserve(2000)
    store.reserve(300)
    await store.put('b', Buffer.alloc(300))
    await store.get('a')
    await store.get('b')
    await store.delete('a')
    await store.delete('a')
    t.strictSame(store.counts, {
      get: { hit: 1, miss: 1, error: 0 },
      put: { created: 1, replaced: 1, full: 2, error: 0 },
      delete: { deleted: 1, miss: 1, error: 0 },
    })
    t.match(await store.stats(), { objects: 0, bytes: 0 })
    await store.close()
  }
})

t.test('the memory engine costs no promise', async (t) => {
  const store = new CountedStore(new MemoryStore({ limitBytes: 1000 }))
  t.equal(store.put('a', Buffer.alloc(0)), 'created')
  t.match(store.get('a'), { bytes: Buffer.alloc(0) })
  t.equal(store.delete('a'), 'deleted')
})

t.test('a failure is counted as an error and passed on, thrown or rejected', async (t) => {
  const broken = remote(new MemoryStore({ limitBytes: 1000 }))
  broken.get = () => {
    throw new Error('broken')
  }
  broken.delete = () => Promise.reject(new Error('broken'))
  const store = new CountedStore(broken)
  t.throws(() => store.get('a'), { message: 'broken' })
  await t.rejects(store.delete('a') as Promise<unknown>, { message: 'broken' })
  t.equal(store.counts.get.error, 1)
  t.equal(store.counts.delete.error, 1)
})

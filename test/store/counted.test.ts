import t from 'tap'
import type { Preconditions } from '../../src/http/preconditions.ts'
import { CountedStore } from '../../src/store/counted.ts'
import { MemoryStore } from '../../src/store/memory/memory.ts'
import type { Store } from '../../src/store/store.ts'

/** An engine that answers later, like one over a network. */
function remote(store: Store): Store {
  return {
    engine: 'remote',
    trouble: undefined,
    get: async (id) => store.get(id),
    describe: async (id) => store.describe(id),
    check: async (id, preconditions) => store.check(id, preconditions),
    put: async (id, object, preconditions) => store.put(id, object, preconditions),
    delete: async (id, preconditions) => store.delete(id, preconditions),
    list: async (options) => store.list(options),
    reading: (object) => store.reading(object),
    reserve: (bytes) => store.reserve(bytes),
    release: (bytes) => store.release(bytes),
    stats: async () => store.stats(),
    close: async () => store.close(),
  }
}

/** Holds if there is no object. */
const NOTHING: Preconditions = { ifMatch: undefined, ifNoneMatch: '*' }

function put(store: Store, id: string, size: number, preconditions?: Preconditions) {
  store.reserve(size)
  return store.put(id, { bytes: Buffer.alloc(size), etag: `"${size}"`, expires: undefined }, preconditions)
}

t.test('outcomes are counted whether the engine answers at once or later', async (t) => {
  for (const wrap of [(store: Store) => store, remote]) {
    const store = new CountedStore(wrap(new MemoryStore({ limitBytes: 500 })))
    await put(store, 'a', 1)
    await put(store, 'a', 1)
    await put(store, 'a', 1, NOTHING)
    await store.check('a', NOTHING)
    await store.check('b', NOTHING)
    store.reserve(2000)
    await put(store, 'b', 100)
    await store.list({ prefix: '', limit: 1, after: undefined })
    await store.list({ prefix: 'b', limit: 1, after: undefined })
    await store.get('a')
    await store.get('b')
    await store.describe('a')
    await store.delete('a', NOTHING)
    await store.delete('a')
    await store.delete('a')
    t.strictSame(store.counts, {
      get: { hit: 2, miss: 1, error: 0 },
      put: { created: 1, replaced: 1, precondition_failed: 2, full: 2, error: 0 },
      delete: { deleted: 1, miss: 1, precondition_failed: 1, error: 0 },
      list: { hit: 1, miss: 1, error: 0 },
    })
    t.match(await store.stats(), { objects: 0, bytes: 0 })
    await store.close()
  }
})

t.test('the memory engine costs no promise', async (t) => {
  const store = new CountedStore(new MemoryStore({ limitBytes: 1000 }))
  t.equal(put(store, 'a', 0), 'created')
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

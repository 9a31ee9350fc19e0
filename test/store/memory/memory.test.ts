import { mock } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { MemoryStore } from '../../../src/store/memory/memory.ts'
import { stopClock } from '../../helper.ts'
import { outputOf } from '../../process.ts'

/** Puts an object like the service, which reserves the payload first. */
function put(store: MemoryStore, id: string, size: number, fill = id) {
  return store.reserve(size)
    ? store.put(id, { bytes: Buffer.alloc(size, fill), etag: `"${size}"`, expires: undefined })
    : 'full'
}

t.test('bytes return to zero whatever the order of creating, replacing and deleting', async (t) => {
  const store = new MemoryStore({ limitBytes: 1e6 })
  t.equal(put(store, 'a', 100), 'created')
  const small = store.stats().bytes
  t.equal(put(store, 'a', 1000), 'replaced')
  t.equal(store.stats().bytes, small + 900)
  t.equal(put(store, '漢字', 10), 'created')
  t.equal(store.stats().objects, 2)
  t.equal(store.delete('a'), 'deleted')
  t.equal(store.delete('漢字'), 'deleted')
  t.equal(store.delete('a'), 'miss')
  t.match(store.stats(), { objects: 0, bytes: 0 })
  put(store, 'a', 1)
  store.close()
  t.equal(store.stats().objects, 0)
})

t.test('what is refused changes nothing', async (t) => {
  const store = new MemoryStore({ limitBytes: 1000 })
  put(store, 'a', 100)
  const before = store.stats()
  t.equal(put(store, 'b', 400), 'full', 'no room for the bookkeeping')
  t.equal(put(store, 'a', 1000), 'full', 'no room for the payload')
  t.strictSame(store.stats(), before)
  t.equal(store.get('a')?.bytes.length, 100)
})

t.test('what a reader has got stays what it is, and counts until it has been sent', async (t) => {
  const store = new MemoryStore({ limitBytes: 1e6 })
  for (const size of [100, 5000]) {
    put(store, 'a', size)
    const read = store.get('a')
    if (read === undefined) return t.fail('not found')
    const sent = store.reading(read)
    put(store, 'a', 1)
    put(store, 'b', size)
    t.ok(read.bytes.equals(Buffer.alloc(size, 'a')))
    store.delete('a')
    store.delete('b')
    t.equal(store.stats().bytes, size)
    sent()
    t.equal(store.stats().bytes, 0)
  }
})

t.test(
  'an object with several readers counts once, until it is gone and the last of them has it',
  async (t) => {
    const store = new MemoryStore({ limitBytes: 1e6 })
    put(store, 'a', 5000)
    const { bytes } = store.stats()
    const read = store.get('a')
    if (read === undefined) return t.fail('not found')
    store.reading(read)()
    t.equal(store.stats().bytes, bytes, 'it is still there')
    const [first, second] = [store.reading(read), store.reading(read)]
    store.delete('a')
    first()
    t.equal(store.stats().bytes, 5000)
    second()
    t.equal(store.stats().bytes, 0)
  },
)

t.test(
  'a store that copies for slow readers have filled gives back what is deleted or becomes smaller',
  async (t) => {
    const store = new MemoryStore({ limitBytes: 10_000 })
    put(store, 'a', 1000)
    put(store, 'b', 2000)
    const read = store.get('a')
    if (read === undefined) return t.fail('not found')
    const copies = Array.from({ length: 10 }, () => store.reading(read))
    t.equal(put(store, 'c', 1), 'full')
    // An empty body needs no room.
    t.equal(put(store, 'b', 0), 'replaced')
    t.equal(store.delete('a'), 'deleted')
    t.equal(store.delete('b'), 'deleted')
    t.equal(store.stats().bytes, 10_000)
    for (const sent of copies) sent()
    t.equal(store.stats().bytes, 0)
  },
)

t.test('objects that expire together are swept in steps, between which others have their turn', async (t) => {
  const clock = stopClock(t)
  const store = new MemoryStore({ limitBytes: 1e9 })
  t.after(() => store.close())
  const expires = Math.ceil(clock.now / 1000) + 60
  for (let i = 0; i < 2000; i++) {
    store.put(`${i}`, { bytes: Buffer.allocUnsafeSlow(0), etag: '""', expires })
  }
  clock.now = expires * 1000
  // A step of 1 ms reads the time a hundred times, even on a fast machine.
  let ms = 0
  t.intercept(performance, 'now', {
    value: () => {
      ms += 0.01
      return ms
    },
  })
  let turns = 0
  for (let left = store.stats().objects; left > 0; left = store.stats().objects) {
    if (left < 2000) turns++
    await setImmediate()
  }
  t.ok(turns > 5, `${turns} turns of others`)
  t.equal(store.stats().bytes, 0)
})

t.test('a sweep that takes longer than the interval is one step in each turn all the same', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  t.after(() => mock.timers.reset())
  const clock = stopClock(t)
  const store = new MemoryStore({ limitBytes: 1e9 })
  t.after(() => store.close())
  const expires = Math.ceil(clock.now / 1000) + 60
  for (let i = 0; i < 100; i++) store.put(`${i}`, { bytes: Buffer.alloc(0), etag: '""', expires })
  clock.now = expires * 1000
  // A millisecond passes whenever the time is read, so a step removes one object.
  let now = 0
  t.intercept(performance, 'now', { value: () => now++ })

  mock.timers.tick(5000)
  for (let left = 99; left > 0; left--) {
    t.equal(store.stats().objects, left)
    mock.timers.tick(1000)
    t.equal(store.stats().objects, left, 'no other step in the same turn')
    await setImmediate()
  }
  t.equal(store.stats().objects, 0)
})

t.test("ids and bookkeeping have a limit of their own, V8's heap, and give it back", async (t) => {
  const store = new MemoryStore({ limitBytes: 1e9, heapLimitBytes: 10_000 })
  let stored = 0
  while (put(store, `${stored}`.padStart(12), 0) === 'created') stored++
  t.ok(stored > 10 && stored < 100, `${stored} objects`)
  t.equal(put(store, '0'.padStart(12), 1000), 'replaced', 'payloads do not lie in the heap')
  const before = store.stats()
  t.equal(put(store, '0'.padStart(12), 5000), 'full', 'what a Buffer takes beside its bytes does')
  t.strictSame(store.stats(), before)
  t.equal(store.get('0'.padStart(12))?.size, 1000)
  store.delete('0'.padStart(12))
  t.equal(put(store, 'x'.padStart(12), 0), 'created')
  t.equal(put(store, 'y'.padStart(12), 0), 'full')
})

t.test('a process with a small heap fills up with small objects and goes on', async (t) => {
  const script = `
    import { MemoryStore } from './src/store/memory/memory.ts'
    const store = new MemoryStore({ limitBytes: 2 ** 40 })
    let stored = 0
    const put = (id) => store.put(id, { bytes: Buffer.allocUnsafeSlow(0), etag: '"' + id + '"' })
    while (put('' + stored) === 'created') stored++
    console.log(stored, store.get('0') !== undefined, store.delete('0'), put('again'))
  `
  const args = ['--max-old-space-size=64', '--input-type=module', '--eval', script]
  t.match(await outputOf([process.execPath, ...args]), /^\d{5,6} true deleted created\n$/)
})

import t from 'tap'
import { ShardedMap } from '../../src/store/sharded-map.ts'

t.test('it is a Map by id', async (t) => {
  const map = new ShardedMap<number>()
  const ids = Array.from({ length: 5000 }, (_, i) => `${i}-é😀`)
  for (const [i, id] of ids.entries()) map.set(id, i)
  map.set('0-é😀', -1)
  t.equal(map.size, 5000)
  t.equal(map.get('0-é😀'), -1)
  t.equal(map.get('4999-é😀'), 4999)
  t.equal(map.get('absent'), undefined)
  map.delete('absent')
  map.delete('0-é😀')
  t.equal(map.size, 4999)
  t.equal(map.get('0-é😀'), undefined)
  map.clear()
  t.equal(map.size, 0)
  t.equal(map.get('4999-é😀'), undefined)
})

t.test('no set or delete of a million holds the event loop for 5 ms', async (t) => {
  const ids = Array.from({ length: 1_000_000 }, (_, i) => `object-${i}`)
  // What else the machine does, and garbage collection, happen at another place each time.
  const shortest = {
    set: new Float64Array(ids.length).fill(1e9),
    delete: new Float64Array(ids.length).fill(1e9),
  }
  for (let attempt = 0; attempt < 3; attempt++) {
    const map = new ShardedMap<number>()
    for (const method of ['set', 'delete'] as const) {
      let last = performance.now()
      for (const [i, id] of ids.entries()) {
        map[method](id, i)
        const now = performance.now()
        shortest[method][i] = Math.min(shortest[method][i] as number, now - last)
        last = now
      }
    }
  }
  for (const [method, milliseconds] of Object.entries(shortest)) {
    const longest = milliseconds.reduce((a, b) => Math.max(a, b))
    t.ok(longest < 5, `${method}: ${longest} ms`)
  }
})

import { randomInt } from 'node:crypto'
import t from 'tap'
import { IdMap } from '../../src/store/id-map.ts'

/** The two of each pair have the same hash. */
const COLLISIONS = ['costarring', 'liquid', 'declinate', 'macallums', 'altarage', 'zinke']

t.test('it is a Map by id, whatever hashes the ids have', async (t) => {
  const ids = [...COLLISIONS, ...Array.from({ length: 20 }, (_, i) => `${i}-\u00e9\u{1f600}`)]
  const map = new IdMap<{ id: string }>()
  const model = new Map<string, { id: string }>()
  const differences: string[] = []
  for (let i = 0; i < 20_000; i++) {
    const id = ids[randomInt(ids.length)] as string
    const value = { id }
    if (randomInt(2) === 0) {
      map.set(value)
      model.set(id, value)
    } else {
      map.delete(id)
      model.delete(id)
    }
    if (map.size !== model.size || ids.some((each) => map.get(each) !== model.get(each))) differences.push(id)
  }
  t.strictSame(differences, [])
  map.clear()
  t.equal(map.size, 0)
  t.ok(ids.every((id) => map.get(id) === undefined))
})

t.test('no set or delete of a million holds the event loop for 5 ms', async (t) => {
  const values = Array.from({ length: 1_000_000 }, (_, i) => ({ id: `object-${i}` }))
  // What else the machine does, and garbage collection, happen at another place each time.
  const shortest = {
    set: new Float64Array(values.length).fill(1e9),
    delete: new Float64Array(values.length).fill(1e9),
  }
  for (let attempt = 0; attempt < 3; attempt++) {
    const map = new IdMap<{ id: string }>()
    for (const method of ['set', 'delete'] as const) {
      let last = performance.now()
      for (const [i, value] of values.entries()) {
        if (method === 'set') map.set(value)
        else map.delete(value.id)
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

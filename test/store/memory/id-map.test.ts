import { randomInt } from 'node:crypto'
import t from 'tap'
import { IdMap } from '../../../src/store/memory/id-map.ts'

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

import { randomBytes, randomInt } from 'node:crypto'
import t from 'tap'
import { PackedRows, type RowOwner } from '../../../src/store/memory/packed-rows.ts'

const SIZES = [0, 1, 15, 16, 17, 100, 112, 113]

const owner = (size: number): RowOwner => ({ size, place: undefined })

t.test('bytes stay what they are while others come and go', async (t) => {
  const packed = new PackedRows()
  const expected = new Map<RowOwner, Buffer>()
  for (let i = 0; i < 20_000; i++) {
    // First more rows are added than removed, then the other way round.
    if (expected.size === 0 || randomInt(10) < (i < 10_000 ? 7 : 3)) {
      const added = owner(SIZES[randomInt(SIZES.length)] as number)
      const bytes = randomBytes(added.size)
      packed.add(added, bytes)
      expected.set(added, bytes)
    } else {
      const [removed] = [...expected.keys()].slice(randomInt(Math.min(expected.size, 100)))
      packed.remove(removed as RowOwner)
      expected.delete(removed as RowOwner)
    }
    if (i % 1000 !== 0) continue
    const changed = [...expected].filter(([each, bytes]) => !packed.read(each).equals(bytes))
    t.equal(changed.length, 0, `of ${expected.size}`)
  }
})

t.test('what is read is a copy', async (t) => {
  const packed = new PackedRows()
  const [first, second] = [owner(5), owner(5)]
  packed.add(first, Buffer.from('first'))
  packed.add(second, Buffer.from('later'))
  const read = packed.read(first)
  packed.remove(first)
  t.equal(`${read}`, 'first')
  t.equal(`${packed.read(second)}`, 'later')
})

t.test('what is left of many lies together, and slabs are given up but for one in reserve', async (t) => {
  const packed = new PackedRows()
  const owners = Array.from({ length: 10_000 }, () => owner(100))
  for (const each of owners) packed.add(each, Buffer.alloc(100))
  t.equal(packed.slabs, 8)
  for (const [i, each] of owners.entries()) if (i % 100 !== 0) packed.remove(each)
  t.equal(packed.slabs, 2)
})

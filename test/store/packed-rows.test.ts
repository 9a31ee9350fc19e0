import { randomBytes, randomInt } from 'node:crypto'
import t from 'tap'
import { PackedRows, type RowOwner, unpack } from '../../src/store/packed-rows.ts'

const SIZES = [0, 1, 15, 16, 17, 100, 112, 113]

const owner = (size: number): RowOwner => ({ size, slab: Buffer.alloc(0), row: -1 })

t.test('bytes stay what they are while others come and go', async (t) => {
  const packed = new PackedRows()
  const expected = new Map<RowOwner, Buffer>()
  for (let i = 0; i < 20_000; i++) {
    // First more come than go, then more go than come.
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
    const changed = [...expected].filter(([{ ...at }, bytes]) => !unpack(at).equals(bytes))
    t.equal(changed.length, 0, `of ${expected.size}`)
  }
})

t.test('what is read is a copy', async (t) => {
  const packed = new PackedRows()
  const [first, second] = [owner(5), owner(5)]
  packed.add(first, Buffer.from('first'))
  packed.add(second, Buffer.from('later'))
  const read = unpack(first)
  packed.remove(first)
  t.equal(`${read}`, 'first')
  t.equal(`${unpack(second)}`, 'later')
  t.equal(second.slab, first.slab)
})

t.test('what is left of many lies together', async (t) => {
  const packed = new PackedRows()
  const owners = Array.from({ length: 10_000 }, () => owner(100))
  for (const each of owners) packed.add(each, Buffer.alloc(100))
  t.equal(new Set(owners.map(({ slab }) => slab)).size, 9)
  for (const [i, each] of owners.entries()) if (i % 100 !== 0) packed.remove(each)
  const slabs = new Set(owners.filter((_owner, i) => i % 100 === 0).map(({ slab }) => slab))
  t.equal(slabs.size, 1, 'of nine')
})

t.test('slabs are given up when nothing is in them, but for two', async (t) => {
  const packed = new PackedRows()
  const owners = Array.from({ length: 10_000 }, () => owner(100))
  const fill = () => {
    for (const each of owners) packed.add(each, Buffer.alloc(100))
    return new Set(owners.map(({ slab }) => slab))
  }
  const before = fill()
  for (const each of owners) packed.remove(each)
  const after = fill()
  t.equal([...after].filter((slab) => before.has(slab)).length, 2, `of ${before.size}`)
})

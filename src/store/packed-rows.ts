/** Rows share Buffers of so many bytes: glibc gives those back to the system that have 128 KiB, once they are free. */
const SLAB_BYTES = 128 * 1024

/** A row is as long as the next multiple of this, in bytes. */
const STEP_BYTES = 16

const lengthOfRow = (size: number) => Math.max(1, Math.ceil(size / STEP_BYTES)) * STEP_BYTES

const rowsASlab = (length: number) => Math.ceil(SLAB_BYTES / length)

/** Whose bytes lie in a row. Where that is changes whenever another one goes. */
export interface RowOwner {
  /** How many bytes. */
  readonly size: number
  slab: Buffer
  /** Counted from the first slab's first row. */
  row: number
}

interface Slab<T> {
  readonly buffer: Buffer
  readonly owners: (T | undefined)[]
}

/** Rows of one length without a gap between them: where one goes, the last one takes its place. */
class Rows<T extends RowOwner> {
  readonly #length: number
  readonly #rowsASlab: number
  readonly #slabs: Slab<T>[] = []
  #count = 0

  constructor(length: number) {
    this.#length = length
    this.#rowsASlab = rowsASlab(length)
  }

  add(owner: T, bytes: Buffer): void {
    const row = this.#count++
    const slab = this.#slabOf(row) ?? this.#grow()
    bytes.copy(slab.buffer, this.#start(row))
    this.#own(slab, row, owner)
  }

  remove({ row }: T): void {
    const last = --this.#count
    const from = this.#slabOf(last) as Slab<T>
    const moved = from.owners[last % this.#rowsASlab] as T
    from.owners[last % this.#rowsASlab] = undefined
    if (row !== last) {
      const to = this.#slabOf(row) as Slab<T>
      from.buffer.copy(to.buffer, this.#start(row), this.#start(last), this.#start(last) + this.#length)
      this.#own(to, row, moved)
    }
    // One slab stays in reserve, for the next object.
    if (this.#slabs.length * this.#rowsASlab - last > 2 * this.#rowsASlab) this.#slabs.pop()
  }

  #grow(): Slab<T> {
    const buffer = Buffer.allocUnsafeSlow(this.#rowsASlab * this.#length)
    const slab = { buffer, owners: new Array(this.#rowsASlab) }
    this.#slabs.push(slab)
    return slab
  }

  #slabOf(row: number): Slab<T> | undefined {
    return this.#slabs[Math.floor(row / this.#rowsASlab)]
  }

  #start(row: number): number {
    return (row % this.#rowsASlab) * this.#length
  }

  #own(slab: Slab<T>, row: number, owner: T): void {
    slab.owners[row % this.#rowsASlab] = owner
    owner.slab = slab.buffer
    owner.row = row
  }
}

/**
 * Keeps the bytes of small objects side by side. What is left of many is moved together, so that a few that stay do not
 * keep the memory of all the others.
 */
export class PackedRows<T extends RowOwner> {
  readonly #rows: Rows<T>[] = []

  /** Copies the bytes, of which there are as many as the owner says. */
  add(owner: T, bytes: Buffer): void {
    const length = lengthOfRow(owner.size)
    const index = length / STEP_BYTES
    this.#rows[index] ??= new Rows(length)
    this.#rows[index].add(owner, bytes)
  }

  remove(owner: T): void {
    this.#rows[lengthOfRow(owner.size) / STEP_BYTES]?.remove(owner)
  }
}

/** A copy of an owner's bytes. */
export function unpack({ size, slab, row }: RowOwner): Buffer {
  const length = lengthOfRow(size)
  const start = (row % rowsASlab(length)) * length
  return Buffer.from(slab.subarray(start, start + size))
}

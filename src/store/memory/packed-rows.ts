/** Rows share Buffers of so many bytes: glibc gives those back to the system that have 128 KiB, once they are free. */
const SLAB_BYTES = 128 * 1024

/** A row is as long as the next multiple of this, in bytes. */
const STEP_BYTES = 8

const lengthOfRow = (size: number) => Math.max(1, Math.ceil(size / STEP_BYTES)) * STEP_BYTES

/** Whose bytes lie in a row. Where that is changes whenever another one goes. */
export interface RowOwner {
  /** How many bytes. */
  readonly size: number
  /** The row, counted from the first slab's first; anything else before it has one. */
  place: unknown
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
    this.#rowsASlab = Math.ceil(SLAB_BYTES / length)
  }

  add(owner: T, bytes: Buffer): void {
    const row = this.#count++
    const slab = this.#slabOf(row) ?? this.#grow()
    bytes.copy(slab.buffer, this.#start(row))
    this.#own(slab, row, owner)
  }

  remove(row: number): void {
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

  /** A copy of the first bytes of a row. */
  read(row: number, size: number): Buffer {
    const { buffer } = this.#slabOf(row) as Slab<T>
    const start = this.#start(row)
    return Buffer.from(buffer.subarray(start, start + size))
  }

  get slabs(): number {
    return this.#slabs.length
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
    owner.place = row
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
    this.#rowsOf(owner).add(owner, bytes)
  }

  remove(owner: T): void {
    this.#rowsOf(owner).remove(owner.place as number)
  }

  /** A copy of an owner's bytes. */
  read(owner: T): Buffer {
    return this.#rowsOf(owner).read(owner.place as number, owner.size)
  }

  /** How many slabs there are. */
  get slabs(): number {
    return this.#rows.reduce((slabs, rows) => slabs + rows.slabs, 0)
  }

  #rowsOf({ size }: T): Rows<T> {
    const length = lengthOfRow(size)
    const index = length / STEP_BYTES
    this.#rows[index] ??= new Rows(length)
    return this.#rows[index]
  }
}

/** Rows share Buffers of this size. glibc returns free memory to the system from 128 KiB on. */
const SLAB_BYTES = 128 * 1024

/** The length of a row is the next multiple of this, in bytes. */
const STEP_BYTES = 8

const lengthOfRow = (size: number) => Math.max(1, Math.ceil(size / STEP_BYTES)) * STEP_BYTES

/** An object whose bytes are in a row. Its row changes when another object is removed. */
export interface RowOwner {
  /** In bytes. */
  readonly size: number
  /**
   * The number of the row, from 0 in the first slab. It may be anything before {@link
   * PackedRows.add}.
   */
  place: unknown
}

interface Slab<T> {
  readonly buffer: Buffer
  readonly owners: (T | undefined)[]
}

/** Rows of one length without gaps. When a row is removed, the last row takes its place. */
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
    // One spare slab is kept for the next object.
    if (this.#slabs.length * this.#rowsASlab - last > 2 * this.#rowsASlab) this.#slabs.pop()
  }

  /** Copies the first bytes of a row. */
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
 * Keeps the bytes of small objects in shared Buffers. The rows that remain after deletions are
 * moved together, so that a few objects do not keep the memory of all the others.
 */
export class PackedRows<T extends RowOwner> {
  readonly #rows: Rows<T>[] = []

  /** Copies the bytes into a row. */
  add(owner: T, bytes: Buffer): void {
    this.#rowsOf(owner).add(owner, bytes)
  }

  remove(owner: T): void {
    this.#rowsOf(owner).remove(owner.place as number)
  }

  /** Returns a copy of the owner's bytes. */
  read(owner: T): Buffer {
    return this.#rowsOf(owner).read(owner.place as number, owner.size)
  }

  /** The number of slabs. */
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

import { getHeapStatistics } from 'node:v8'

/** Memory in bytes, and the part of it that lies in V8's heap. */
interface Cost {
  readonly bytes: number
  readonly heapBytes: number
}

/**
 * The memory of an object without its bytes and its id: the entry of the map, the place in the
 * order of ids, the record, the entity tag, and its share of the growth of V8's young generation.
 * Measured by `npm run bench:memory`.
 */
export const RECORD: Cost = { bytes: 285, heapBytes: 218 }

/**
 * The additional memory of an object that has its own Buffer, with the allocator's rounding.
 * Measured likewise.
 */
export const OWN_BUFFER: Cost = { bytes: 400, heapBytes: 190 }

export interface BudgetOptions {
  /** The limit of objects, ids, bookkeeping and uploads in progress, in bytes. */
  limitBytes: number
  /**
   * The limit of ids and bookkeeping in V8's heap, in bytes. The heap has its own limit, at which
   * the process dies, and many small objects could reach it before `limitBytes`. The default is a
   * quarter of it, because V8 counts its young generation too, and needs room to collect garbage
   * and to grow the map.
   */
  heapLimitBytes?: number
}

/** Counts the memory of a store against its limits. */
export class Budget {
  readonly limitBytes: number
  readonly #heapLimitBytes: number
  #usedBytes = 0
  #usedHeapBytes = 0

  constructor({ limitBytes, heapLimitBytes = getHeapStatistics().heap_size_limit / 4 }: BudgetOptions) {
    this.limitBytes = limitBytes
    this.#heapLimitBytes = heapLimitBytes
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** Returns false, and reserves nothing, if the limit would be exceeded. */
  reserve(bytes: number): boolean {
    if (bytes > 0 && this.#usedBytes + bytes > this.limitBytes) return false
    this.#usedBytes += bytes
    return true
  }

  /** Counts bytes even beyond the limit, because the memory is in use already. */
  force(bytes: number): void {
    this.#usedBytes += bytes
  }

  release(bytes: number): void {
    this.#usedBytes -= bytes
  }

  /** Reserves the memory of additional objects, ids and Buffers. Negative numbers release it. */
  reserveBookkeeping(objects: number, idBytes: number, buffers: number): boolean {
    const heapBytes = idBytes + objects * RECORD.heapBytes + buffers * OWN_BUFFER.heapBytes
    if (heapBytes > 0 && this.#usedHeapBytes + heapBytes > this.#heapLimitBytes) return false
    if (!this.reserve(idBytes + objects * RECORD.bytes + buffers * OWN_BUFFER.bytes)) return false
    this.#usedHeapBytes += heapBytes
    return true
  }
}

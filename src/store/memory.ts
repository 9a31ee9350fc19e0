import { getHeapStatistics } from 'node:v8'
import type { DeleteOutcome, PutOutcome, Store, StoredObject, StoreStats } from './store.ts'

/**
 * Memory that an object takes beside its payload and its id: the map's entry, the record, the Buffer and its
 * backing store, the allocator's rounding. Measured by test/store/memory-cost.test.ts, in bytes.
 */
const BOOKKEEPING_BYTES = 600

/** The part of {@link BOOKKEEPING_BYTES} that lies in V8's heap, measured likewise. */
const BOOKKEEPING_HEAP_BYTES = 320

export interface MemoryStoreOptions {
  /** The most that payloads, ids, bookkeeping and uploads under way may take, in bytes. */
  limitBytes: number
  /**
   * The most that ids and bookkeeping may take of V8's heap, in bytes. The heap has a limit of its own, beyond
   * which the process dies: many small objects could reach it before `limitBytes`. A quarter of it by default, for V8
   * counts its young generation in, and needs room to collect and to grow the map.
   */
  heapLimitBytes?: number
}

class MemoryObject implements StoredObject {
  readonly bytes: Buffer
  readers = 0
  /** Deleted or replaced. */
  gone = false

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }
}

/** Keeps objects in this process, for as long as it lives. */
export class MemoryStore implements Store {
  readonly engine = 'memory'
  readonly #objects = new Map<string, MemoryObject>()
  readonly #limitBytes: number
  readonly #heapLimitBytes: number
  #usedBytes = 0
  #usedHeapBytes = 0

  constructor({ limitBytes, heapLimitBytes = getHeapStatistics().heap_size_limit / 4 }: MemoryStoreOptions) {
    this.#limitBytes = limitBytes
    this.#heapLimitBytes = heapLimitBytes
  }

  get(id: string): MemoryObject | undefined {
    return this.#objects.get(id)
  }

  put(id: string, bytes: Buffer): PutOutcome {
    const replaced = this.#objects.get(id)
    if (replaced !== undefined) {
      this.#objects.set(id, new MemoryObject(bytes))
      this.#free(replaced)
      return 'replaced'
    }
    // The id is a slice of the request's URL, which before Node.js 26 would stay alive with it, up to 12 kB.
    const idBytes = Buffer.from(id)
    if (!this.#reserveBookkeeping(idBytes.length)) {
      this.release(bytes.length)
      return 'full'
    }
    this.#objects.set(idBytes.toString(), new MemoryObject(bytes))
    return 'created'
  }

  delete(id: string): DeleteOutcome {
    const object = this.#objects.get(id)
    if (object === undefined) return 'miss'
    this.#objects.delete(id)
    const idLength = Buffer.byteLength(id)
    this.#free(object)
    this.release(idLength + BOOKKEEPING_BYTES)
    this.#usedHeapBytes -= idLength + BOOKKEEPING_HEAP_BYTES
    return 'deleted'
  }

  reading(object: MemoryObject): () => void {
    object.readers++
    return () => {
      object.readers--
      if (object.gone) this.#free(object)
    }
  }

  reserve(bytes: number): boolean {
    if (this.#usedBytes + bytes > this.#limitBytes) return false
    this.#usedBytes += bytes
    return true
  }

  release(bytes: number): void {
    this.#usedBytes -= bytes
  }

  stats(): StoreStats {
    return { objects: this.#objects.size, bytes: this.#usedBytes, bytesLimit: this.#limitBytes }
  }

  close(): void {
    this.#objects.clear()
  }

  /** Gives an object's bytes back when the last reader has done with them. */
  #free(object: MemoryObject): void {
    object.gone = true
    if (object.readers === 0) this.release(object.bytes.length)
  }

  #reserveBookkeeping(idLength: number): boolean {
    const heapBytes = idLength + BOOKKEEPING_HEAP_BYTES
    if (this.#usedHeapBytes + heapBytes > this.#heapLimitBytes) return false
    if (!this.reserve(idLength + BOOKKEEPING_BYTES)) return false
    this.#usedHeapBytes += heapBytes
    return true
  }
}

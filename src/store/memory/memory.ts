import sortedBTree from 'sorted-btree'
import { failing, type Preconditions } from '../../http/preconditions.ts'
import type { ByteRange } from '../../http/range.ts'
import {
  type DeleteOutcome,
  type ListedObject,
  type ListOptions,
  listed,
  type NewObject,
  NO_RANGE,
  type Page,
  type PutOutcome,
  type Select,
  type Store,
  type StoredObject,
  type StoreStats,
} from '../store.ts'
import { Budget, type BudgetOptions } from './budget.ts'
import { IdMap } from './id-map.ts'
import { hasExpired, isMortal, MemoryObject, MortalObject } from './memory-object.ts'
import { PackedRows } from './packed-rows.ts'

/** How often expired objects are removed, in milliseconds. Objects expire at whole seconds. */
const SWEEP_INTERVAL_MS = 1000

/** How long a page of a listing or a step of a sweep may hold the event loop, in milliseconds. */
const STEP_MS = 1

/** A listing reads the time after this many ids. */
const IDS_A_LOOK = 50

const NO_BYTES = Buffer.alloc(0)

const BTree = sortedBTree.default

/** The result of a get. `bytes` may be a copy. */
interface RetrievedObject extends StoredObject {
  readonly source: MemoryObject
}

const compareIds = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)

const compareExpirations = (a: MortalObject, b: MortalObject) =>
  a.expires - b.expires || compareIds(a.id, b.id)

/** Keeps objects in the memory of this process. */
export class MemoryStore implements Store {
  readonly engine = 'memory'
  readonly trouble = undefined
  readonly #objects = new IdMap<MemoryObject>()
  /** The same ids in the order of a listing. A look-up here would cost four times as much. */
  readonly #ids = new BTree<string, undefined>(undefined, compareIds)
  /** The objects that expire. The first to expire comes first. */
  readonly #mortals = new BTree<MortalObject, undefined>(undefined, compareExpirations)
  readonly #packed = new PackedRows<MemoryObject>()
  /** The number of readers of each object that has its own Buffer and any readers. */
  readonly #readers = new Map<MemoryObject, number>()
  readonly #budget: Budget
  readonly #timer: NodeJS.Timeout
  #isSweeping = false

  constructor(limits: BudgetOptions) {
    this.#budget = new Budget(limits)
    // A sweep of many objects takes longer than the interval.
    this.#timer = setInterval(() => this.#isSweeping || this.#sweep(), SWEEP_INTERVAL_MS).unref()
  }

  get(id: string, select?: Select): RetrievedObject | undefined {
    const source = this.describe(id)
    if (source === undefined) return undefined
    const { size, etag, expires, modified } = source
    return { bytes: this.#read(source, select?.(source)), size, etag, expires, modified, source }
  }

  describe(id: string): MemoryObject | undefined {
    const object = this.#objects.get(id)
    if (object === undefined || !isMortal(object) || !hasExpired(object)) return object
    this.#remove(object)
    return undefined
  }

  check(id: string, preconditions: Preconditions): boolean {
    return failing(preconditions, this.describe(id)?.etag) === undefined
  }

  put(id: string, newObject: NewObject, preconditions?: Preconditions): PutOutcome {
    if (preconditions !== undefined && !this.check(id, preconditions)) {
      this.release(newObject.bytes.length)
      return 'precondition_failed'
    }
    const replaced = this.describe(id)
    // The id is a slice of the request's URL. Before Node.js 26 the slice would keep the URL alive,
    // up to 12 kB.
    const ownId = replaced?.id ?? Buffer.from(id).toString()
    const { expires } = newObject
    const object =
      expires === undefined ? new MemoryObject(ownId, newObject) : new MortalObject(ownId, newObject, expires)
    const isNew = replaced === undefined
    const hadBuffer = !isNew && !replaced.isPacked
    const idBytes = isNew ? Buffer.byteLength(ownId) : 0
    if (
      !this.#budget.reserveBookkeeping(Number(isNew), idBytes, Number(!object.isPacked) - Number(hadBuffer))
    ) {
      this.release(object.size)
      return 'full'
    }
    if (isNew) this.#ids.set(ownId, undefined)
    else this.#drop(replaced)
    this.#objects.set(object)
    if (object.isPacked) this.#packed.add(object, newObject.bytes)
    if (isMortal(object)) this.#mortals.set(object, undefined)
    return isNew ? 'created' : 'replaced'
  }

  delete(id: string, preconditions?: Preconditions): DeleteOutcome {
    const object = this.describe(id)
    if (object === undefined) return 'miss'
    if (preconditions !== undefined && failing(preconditions, object.etag) !== undefined)
      return 'precondition_failed'
    this.#remove(object)
    return 'deleted'
  }

  list({ prefix, limit, after }: ListOptions): Page {
    const objects: ListedObject[] = []
    const deadline = performance.now() + STEP_MS
    let looked = 0
    let last = after
    for (const id of this.#ids.keys(after === undefined || after < prefix ? prefix : after)) {
      if (id === after) continue
      if (!id.startsWith(prefix)) break
      // Expired objects that are not removed yet count too, so that they cannot make a page slow.
      if (looked === limit || (looked % IDS_A_LOOK === IDS_A_LOOK - 1 && performance.now() > deadline))
        return { objects, next: last }
      looked++
      last = id
      // `get` would remove an expired object, and the iterator would lose its place.
      const object = this.#objects.get(id) as MemoryObject
      if (!isMortal(object) || !hasExpired(object)) objects.push(listed(id, object))
    }
    return { objects, next: undefined }
  }

  reading({ source, size }: RetrievedObject): () => void {
    if (source.isPacked) {
      this.#budget.force(size)
      return () => this.release(size)
    }
    this.#readers.set(source, (this.#readers.get(source) ?? 0) + 1)
    return () => {
      const left = (this.#readers.get(source) as number) - 1
      if (left > 0) return void this.#readers.set(source, left)
      this.#readers.delete(source)
      if (this.#objects.get(source.id) !== source) this.release(size)
    }
  }

  reserve(bytes: number): boolean {
    return this.#budget.reserve(bytes)
  }

  release(bytes: number): void {
    this.#budget.release(bytes)
  }

  stats(): StoreStats {
    const { usedBytes, limitBytes } = this.#budget
    return { objects: this.#objects.size, bytes: usedBytes, bytesLimit: limitBytes }
  }

  close(): void {
    clearInterval(this.#timer)
    this.#objects.clear()
    this.#ids.clear()
    this.#mortals.clear()
  }

  /** Returns the bytes of a range, or all bytes. */
  #read(object: MemoryObject, range: ByteRange | undefined): Buffer {
    if (range === NO_RANGE) return NO_BYTES
    const bytes = typeof object.place === 'number' ? this.#packed.read(object) : object.place
    return range === undefined ? bytes : bytes.subarray(range.first, range.last + 1)
  }

  /**
   * Releases the memory of an object that is deleted or replaced. Its own Buffer is released after
   * the last reader.
   */
  #drop(object: MemoryObject): void {
    if (isMortal(object)) this.#mortals.delete(object)
    if (object.isPacked) this.#packed.remove(object)
    if (!this.#readers.has(object)) this.release(object.size)
  }

  #remove(object: MemoryObject): void {
    this.#objects.delete(object.id)
    this.#ids.delete(object.id)
    this.#drop(object)
    this.#budget.reserveBookkeeping(-1, -Buffer.byteLength(object.id), -Number(!object.isPacked))
  }

  /** Removes expired objects, one step in each turn of the event loop. */
  #sweep(): void {
    this.#isSweeping = this.#sweepStep()
    if (this.#isSweeping) setImmediate(() => this.#sweep())
  }

  /** Returns whether there may be more to remove. */
  #sweepStep(): boolean {
    const deadline = performance.now() + STEP_MS
    let first = this.#mortals.minKey()
    while (first !== undefined && hasExpired(first)) {
      if (performance.now() > deadline) return true
      this.#remove(first)
      first = this.#mortals.minKey()
    }
    return false
  }
}

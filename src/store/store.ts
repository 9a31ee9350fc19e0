import type { Preconditions } from '../http/preconditions.ts'
import type { ByteRange } from '../http/range.ts'

/** A value that is there at once where the engine is in this process, and a promise where it is not. */
export type MaybePromise<T> = T | Promise<T>

/** What a put is to keep. */
export interface NewObject {
  readonly bytes: Buffer
  /** The strong entity tag, in its quotes. */
  readonly etag: string
  /** The end of the object's life in Unix seconds, or undefined for none. At that second it is gone. */
  readonly expires: number | undefined
}

/** What there is to know of an object beside its bytes. */
export interface ObjectDescription extends Omit<NewObject, 'bytes'> {
  /** In bytes. */
  readonly size: number
  /** When it was put, in Unix seconds. */
  readonly modified: number
}

/** What is kept under an id. */
export interface StoredObject extends ObjectDescription {
  /** All of the object's bytes, or the selected ones. Readers must not change them. */
  readonly bytes: Buffer
}

/** The range without any byte. */
export const NO_RANGE: ByteRange = { first: 0, last: -1 }

/** Says which bytes of an object are wanted. */
export type Select = (object: ObjectDescription) => ByteRange

/** What a listing says of an object. */
export interface ListedObject extends Omit<ObjectDescription, 'expires'> {
  readonly id: string
  readonly expires?: number
}

/** A description as a listing has it. */
export function listed(id: string, { size, etag, modified, expires }: ObjectDescription): ListedObject {
  return expires === undefined ? { id, size, etag, modified } : { id, size, etag, modified, expires }
}

export interface ListOptions {
  prefix: string
  /** The most objects of a page; there may be fewer although more follow. */
  limit: number
  /** The `next` of an earlier page, or undefined for the first one. */
  after: string | undefined
}

/** Objects of one page, in the engine's order. */
export interface Page {
  readonly objects: ListedObject[]
  /** Where the next page goes on, in the engine's own terms; undefined at the end. */
  readonly next: string | undefined
}

/** How a write ended. But for `created` and `replaced` nothing has changed. `full`: there is no room. */
export type PutOutcome = 'created' | 'replaced' | 'full' | 'precondition_failed'

export type DeleteOutcome = 'deleted' | 'miss' | 'precondition_failed'

/**
 * What a store holds, in objects and in bytes of memory. In this process `bytes` counts all that {@link Store.reserve}
 * handed out; over a network it is what the servers use.
 */
export interface StoreStats {
  objects: number
  bytes: number
  /** Undefined where there is none. */
  bytesLimit: number | undefined
}

/**
 * Objects under ids. Every operation is atomic, its preconditions included. Outcomes are values; a rejection or an
 * exception means that the engine failed.
 */
export interface Store {
  /** The engine's name, as in `STORAGE_URL`. */
  readonly engine: string

  /** Why the engine cannot be used at the moment, in words that are fit for clients; undefined while it can. */
  readonly trouble: string | undefined

  /** Returns an object with the bytes that `select` wants, or with all of them. Over a network no others are fetched. */
  get(id: string, select?: Select): MaybePromise<StoredObject | undefined>

  /** As `get`, without the bytes, which need not be fetched then. */
  describe(id: string): MaybePromise<ObjectDescription | undefined>

  /** Whether a put with these preconditions would go ahead now: so that its body need not be read in vain. */
  check(id: string, preconditions: Preconditions): MaybePromise<boolean>

  /**
   * Creates or replaces an object. The store takes the buffer over, and with it the `bytes.length` bytes
   * that the caller has reserved for it, whatever the outcome.
   */
  put(id: string, object: NewObject, preconditions?: Preconditions): MaybePromise<PutOutcome>

  /** Where there is nothing the outcome is `miss`, whatever the preconditions (RFC 9110 section 13.2.1). */
  delete(id: string, preconditions?: Preconditions): MaybePromise<DeleteOutcome>

  /**
   * One page of the objects whose ids begin with a prefix. What exists from the first page to the last is on one of them.
   *
   * @returns undefined where `after` is not the `next` of any page.
   */
  list(options: ListOptions): MaybePromise<Page | undefined>

  /**
   * Says that an answer is still being sent from an object's bytes: until it ends they are in memory, and count,
   * even if the object is deleted or replaced.
   *
   * @returns what to call at the end.
   */
  reading(object: StoredObject): () => void

  /**
   * Sets memory aside for an upload, so that uploads under way count before they are stored.
   *
   * @returns false if the limit would be exceeded: then nothing has been set aside.
   */
  reserve(bytes: number): boolean

  /** Gives back what {@link reserve} set aside and {@link put} did not take over. */
  release(bytes: number): void

  stats(): MaybePromise<StoreStats>

  close(): MaybePromise<void>
}

import type { Preconditions } from '../http/preconditions.ts'
import type { ByteRange } from '../http/range.ts'

/** A value if the engine is in this process, and a promise if it is not. */
export type MaybePromise<T> = T | Promise<T>

/** The object of a put. */
export interface NewObject {
  readonly bytes: Buffer
  /** The strong entity tag, in its quotes. */
  readonly etag: string
  /** When the object expires, in Unix seconds. Undefined if it does not expire. */
  readonly expires: number | undefined
}

/** An object without its bytes. */
export interface ObjectDescription extends Omit<NewObject, 'bytes'> {
  /** In bytes. */
  readonly size: number
  /** When the object was put, in Unix seconds. */
  readonly modified: number
}

/** An object that is stored. */
export interface StoredObject extends ObjectDescription {
  /** All bytes of the object, or the selected bytes. Readers must not change them. */
  readonly bytes: Buffer
}

/** The empty range. */
export const NO_RANGE: ByteRange = { first: 0, last: -1 }

/** Selects the bytes that a reader needs. */
export type Select = (object: ObjectDescription) => ByteRange

/** An object in a listing. */
export interface ListedObject extends Omit<ObjectDescription, 'expires'> {
  readonly id: string
  readonly expires?: number
}

/** The entry of a listing for an object. */
export function listed(id: string, { size, etag, modified, expires }: ObjectDescription): ListedObject {
  return expires === undefined ? { id, size, etag, modified } : { id, size, etag, modified, expires }
}

export interface ListOptions {
  prefix: string
  /** The maximum number of objects on a page. A page may have fewer, even if more follow. */
  limit: number
  /** The `next` of the previous page. Undefined for the first page. */
  after: string | undefined
}

/** The objects of one page, in the engine's order. */
export interface Page {
  readonly objects: ListedObject[]
  /** Where the next page begins. Only the engine understands it. Undefined on the last page. */
  readonly next: string | undefined
}

/**
 * How a put ended. `full`: there is no room. Only `created` and `replaced` have changed anything.
 */
export type PutOutcome = 'created' | 'replaced' | 'full' | 'precondition_failed'

export type DeleteOutcome = 'deleted' | 'miss' | 'precondition_failed'

/**
 * The content of a store, in objects and in bytes of memory. For an engine in this process `bytes`
 * is the memory that counts against the limit. For an engine over a network it is the memory that
 * the servers use.
 */
export interface StoreStats {
  objects: number
  bytes: number
  /** Undefined if there is no limit. */
  bytesLimit: number | undefined
}

/**
 * Objects under ids. Every operation is atomic, and so are its preconditions. Outcomes are values.
 * A rejection or an exception means that the engine failed.
 */
export interface Store {
  /** The engine's name, as in `STORAGE_URL`. */
  readonly engine: string

  /**
   * Why the engine cannot be used at the moment, in words that clients may see. Undefined while it
   * can be used.
   */
  readonly trouble: string | undefined

  /**
   * Returns an object with the bytes that `select` returns, or with all bytes. Other bytes are not
   * fetched over a network.
   */
  get(id: string, select?: Select): MaybePromise<StoredObject | undefined>

  /** Returns an object without its bytes. */
  describe(id: string): MaybePromise<ObjectDescription | undefined>

  /**
   * Whether a put with these preconditions would succeed now. If not, its body need not be read.
   */
  check(id: string, preconditions: Preconditions): MaybePromise<boolean>

  /**
   * Creates or replaces an object. The store takes over the buffer and the `bytes.length` bytes
   * that the caller has reserved, whatever the outcome is.
   */
  put(id: string, object: NewObject, preconditions?: Preconditions): MaybePromise<PutOutcome>

  /**
   * If there is no object, the outcome is `miss`, whatever the preconditions are (RFC 9110 section
   * 13.2.1).
   */
  delete(id: string, preconditions?: Preconditions): MaybePromise<DeleteOutcome>

  /**
   * Returns one page of the objects whose ids begin with a prefix. An object that exists from the
   * first page to the last is on one of them.
   *
   * @returns undefined if `after` is not the `next` of any page.
   */
  list(options: ListOptions): MaybePromise<Page | undefined>

  /**
   * To be called in the turn of the event loop in which {@link get} has returned an object, if the
   * client does not read the object's bytes at once. They are in memory and count until the
   * response ends, even if the object is deleted or replaced.
   *
   * @returns the function to call when the response ends.
   */
  reading(object: StoredObject): () => void

  /**
   * Reserves memory for an upload, so that uploads in progress count before they are stored.
   *
   * @returns false, and reserves nothing, if the limit would be exceeded.
   */
  reserve(bytes: number): boolean

  /** Releases memory that {@link reserve} has reserved and {@link put} has not taken over. */
  release(bytes: number): void

  stats(): MaybePromise<StoreStats>

  close(): MaybePromise<void>
}

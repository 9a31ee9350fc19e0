/** A value that is there at once where the engine is in this process, and a promise where it is not. */
export type MaybePromise<T> = T | Promise<T>

/** What is kept under an id. The bytes are the store's own: readers must not change them. */
export interface StoredObject {
  readonly bytes: Buffer
}

/** How a write ended. `full`: the limit would have been exceeded, and nothing has changed. */
export type PutOutcome = 'created' | 'replaced' | 'full'

export type DeleteOutcome = 'deleted' | 'miss'

/** What a store holds, in objects and in bytes of memory; `bytes` counts all that {@link Store.reserve} handed out. */
export interface StoreStats {
  objects: number
  bytes: number
  bytesLimit: number
}

/**
 * Objects under ids. Every operation is atomic. Outcomes are values; a rejection or an exception means that
 * the engine failed.
 */
export interface Store {
  /** The engine's name, as in `STORAGE_URL`. */
  readonly engine: string

  get(id: string): MaybePromise<StoredObject | undefined>

  /**
   * Creates or replaces an object. The store takes the buffer over, and with it the `bytes.length` bytes
   * that the caller has reserved for it, whatever the outcome.
   */
  put(id: string, bytes: Buffer): MaybePromise<PutOutcome>

  delete(id: string): MaybePromise<DeleteOutcome>

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

import { createHash, type Hash, hash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { ClientGoneError, objectTooLarge, storeFull } from './errors.ts'
import type { MaybePromise, Store } from './store/store.ts'

/**
 * What entity tags are made of: with the processor's help 0.6 us for 100 bytes and 1.8 GB/s, as fast as SHA-1, and nobody
 * can make two objects that have one (docs/performance.md).
 */
const HASH_ALGORITHM = 'sha256'

/** How much of the hash an entity tag keeps, in characters of base64url, of 6 bits each. */
const ETAG_CHARACTERS = 22

/** The first allocation for a body whose length is not known, in bytes. */
const FIRST_CAPACITY_BYTES = 64 * 1024

/** A buffer, or undefined where the machine has no memory for it. */
function allocate(bytes: number): Buffer | undefined {
  try {
    return Buffer.allocUnsafeSlow(bytes)
  } catch {
    return undefined
  }
}

/** A body that has arrived, and its strong entity tag. */
export interface Upload {
  bytes: Buffer
  etag: string
}

export interface ReceiveOptions {
  /** The most bytes that a body may have. */
  maxBytes: number
  store: Pick<Store, 'reserve' | 'release'>
  /** Runs when there is room for the body and before any of it is read; an error refuses the upload. */
  accept: () => MaybePromise<void>
}

/** A buffer that grows, reserved from the store at every moment, and the hash of what is in it. */
class Body {
  readonly #options: ReceiveOptions
  readonly #declaredLength: number
  #buffer: Buffer = Buffer.allocUnsafeSlow(0)
  #length = 0
  #hashing: Hash | undefined

  /** @throws {HttpError} 507 where the declared length does not fit. */
  constructor(options: ReceiveOptions, declaredLength: number) {
    this.#options = options
    this.#declaredLength = declaredLength
    this.#resize(declaredLength)
  }

  append(chunk: Buffer): void {
    const { maxBytes } = this.#options
    const length = this.#length + chunk.length
    if (length > maxBytes) throw objectTooLarge(maxBytes)
    if (length > this.#buffer.length)
      this.#resize(Math.min(Math.max(length, 2 * this.#buffer.length, FIRST_CAPACITY_BYTES), maxBytes))
    chunk.copy(this.#buffer, this.#length)
    this.#length = length
    // A body that comes in one piece is hashed at the end, in half the time.
    if (chunk.length !== this.#declaredLength) this.#hashing ??= createHash(HASH_ALGORITHM)
    this.#hashing?.update(chunk)
  }

  finish(): Upload {
    if (this.#length < this.#buffer.length) this.#resize(this.#length)
    const digest = this.#hashing?.digest('base64url') ?? hash(HASH_ALGORITHM, this.#buffer, 'base64url')
    // JSON puts the quotes, and makes a new string: a slice would keep all of the digest alive.
    return { bytes: this.#buffer, etag: JSON.stringify(digest.slice(0, ETAG_CHARACTERS)) }
  }

  release(): void {
    this.#options.store.release(this.#buffer.length)
  }

  /** @throws {HttpError} 507, and nothing has changed. */
  #resize(capacity: number): void {
    const { store } = this.#options
    // What is to be filled counts beside what it is filled from; a shorter copy of the same takes no more.
    const grows = capacity > this.#buffer.length
    if (grows && !store.reserve(capacity)) throw storeFull()
    const resized = allocate(capacity)
    if (resized === undefined) {
      if (grows) store.release(capacity)
      throw storeFull()
    }
    this.#buffer.copy(resized, 0, 0, this.#length)
    store.release(grows ? this.#buffer.length : this.#buffer.length - capacity)
    this.#buffer = resized
  }
}

/**
 * Reads a request's body into one buffer of its own, of exactly its length, reserved from the store as it grows.
 *
 * With a Content-Length all of it is reserved at the start, so that a refusal is sent before the body; without
 * one the buffer doubles, which holds memory in proportion to what has arrived, however small its chunks are.
 * `allocUnsafeSlow` keeps small bodies out of Node's shared slabs, of which each survivor would hold 8 KiB.
 *
 * The rest of a refused body is read and thrown away, so that the client gets to read the answer and can go on
 * using the connection; the server's `requestTimeout` bounds that.
 *
 * @returns the body, reserved in the store: the caller passes both on to `put`, or releases them.
 * @throws {HttpError} 413 beyond `maxBytes`, 507 where the store has no room, and whatever `accept` throws.
 * @throws {ClientGoneError} if the client does not finish. Nothing stays reserved after an error.
 */
export async function receive(request: IncomingMessage, options: ReceiveOptions): Promise<Upload> {
  const declared = Number(request.headers['content-length'] ?? 0)
  if (declared > options.maxBytes) throw objectTooLarge(options.maxBytes)
  const body = new Body(options, declared)
  try {
    await options.accept()
    await read(request, (chunk) => body.append(chunk))
    return body.finish()
  } catch (error) {
    body.release()
    request.resume()
    throw error
  }
}

/** Passes on a body piece by piece, until its end or the first exception. */
function read(request: IncomingMessage, onChunk: (chunk: Buffer) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    if (request.destroyed) return reject(new ClientGoneError())
    request.on('data', append).once('end', finish).once('error', abandon).once('close', abandon)

    function append(chunk: Buffer): void {
      try {
        onChunk(chunk)
      } catch (error) {
        fail(error)
      }
    }

    function finish(): void {
      detach()
      resolve()
    }

    function abandon(): void {
      fail(new ClientGoneError())
    }

    function fail(error: unknown): void {
      detach()
      reject(error)
    }

    function detach(): void {
      request.off('data', append).off('end', finish).off('error', abandon).off('close', abandon)
    }
  })
}

import { createHash, type Hash, hash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { ClientGoneError, objectTooLarge, storeFull } from './errors.ts'

/**
 * The hash behind entity tags. The processor has instructions for it: 0.6 us for 100 bytes, and 1.8
 * GB/s, as fast as SHA-1. Nobody can make two objects that have the same hash
 * (docs/performance.md).
 */
const HASH_ALGORITHM = 'sha256'

/** The part of the hash in an entity tag, in characters of base64url, which have 6 bits each. */
const ETAG_CHARACTERS = 22

/** The first allocation for a body of unknown length, in bytes. */
const FIRST_CAPACITY_BYTES = 64 * 1024

/**
 * After this many bytes of a body the other requests have their turn. Otherwise a fast client keeps
 * the event loop while there is something to read: 32 simultaneous uploads of 16 MiB held it for
 * 400 ms, and with turns for 40 to 90 ms (`npm run bench:memory`).
 */
const TURN_BYTES = 128 * 1024

/**
 * One call hashes this much of a body, in bytes. A body of 64 KiB arrives in two or three chunks,
 * and one call per chunk takes twice the time. 256 KiB hold the event loop for 0.15 ms.
 */
const HASHED_AT_ONCE_BYTES = 256 * 1024

const NO_BYTES = Buffer.alloc(0)

/** @throws {HttpError} 507 if the machine has no memory for it. */
function allocate(bytes: number): Buffer {
  try {
    return Buffer.allocUnsafeSlow(bytes)
  } catch {
    throw storeFull
  }
}

/** A complete body and its strong entity tag. */
export interface Upload {
  bytes: Buffer
  etag: string
}

/** Memory for request bodies, in bytes: the part of a store that an upload needs. */
export interface UploadMemory {
  /** Returns false, and reserves nothing, if the limit would be exceeded. */
  reserve(bytes: number): boolean
  release(bytes: number): void
}

export interface ReceiveOptions {
  /** The maximum size of a body. */
  maxBytes: number
  memory: UploadMemory
  /**
   * Called when memory for the body is reserved and before the body is read. Returns whether to
   * read it.
   */
  accept: () => boolean | Promise<boolean>
}

/** A growing buffer, whose memory is always reserved, and the hash of its content. */
class Body {
  readonly #options: ReceiveOptions
  readonly #declaredLength: number
  #reserved = 0
  #buffer: Buffer = NO_BYTES
  #length = 0
  #hashing: Hash | undefined
  #hashedBytes = 0

  /** @throws {HttpError} 507 if there is no room for the declared length. */
  constructor(options: ReceiveOptions, declaredLength: number) {
    this.#options = options
    this.#declaredLength = declaredLength
    this.#reserve(declaredLength)
  }

  append(chunk: Buffer): void {
    const { maxBytes } = this.#options
    const length = this.#length + chunk.length
    if (length > maxBytes) throw objectTooLarge(maxBytes)
    if (chunk.length === this.#declaredLength && chunk.buffer.byteLength === chunk.length) {
      // The whole body, in its own memory: Node.js has copied it.
      this.#buffer = chunk
    } else {
      if (this.#buffer.length < this.#declaredLength) this.#buffer = allocate(this.#declaredLength)
      if (length > this.#buffer.length)
        this.#grow(Math.min(Math.max(length, 2 * this.#buffer.length, FIRST_CAPACITY_BYTES), maxBytes))
      chunk.copy(this.#buffer, this.#length)
    }
    this.#length = length
    if (length - this.#hashedBytes >= HASHED_AT_ONCE_BYTES) this.#hash()
  }

  finish(): Upload {
    if (this.#length < this.#buffer.length) this.#shrink()
    if (this.#hashing !== undefined) this.#hash()
    const digest = this.#hashing?.digest('base64url') ?? hash(HASH_ALGORITHM, this.#buffer, 'base64url')
    // JSON adds the quotes and makes a new string. A slice would keep the whole digest alive.
    return { bytes: this.#buffer, etag: JSON.stringify(digest.slice(0, ETAG_CHARACTERS)) }
  }

  release(bytes = this.#reserved): void {
    this.#options.memory.release(bytes)
    this.#reserved -= bytes
  }

  /** Hashes what has arrived since the last call. */
  #hash(): void {
    this.#hashing ??= createHash(HASH_ALGORITHM)
    this.#hashing.update(this.#buffer.subarray(this.#hashedBytes, this.#length))
    this.#hashedBytes = this.#length
  }

  #reserve(bytes: number): void {
    if (!this.#options.memory.reserve(bytes)) throw storeFull
    this.#reserved += bytes
  }

  /** Both buffers count until the content is copied. */
  #grow(capacity: number): void {
    this.#reserve(capacity)
    this.#move(allocate(capacity))
  }

  /** The shorter copy needs no reservation. */
  #shrink(): void {
    this.#move(allocate(this.#length))
  }

  #move(to: Buffer): void {
    this.#buffer.copy(to, 0, 0, this.#length)
    this.#buffer = to
    this.release(this.#reserved - to.length)
  }
}

/**
 * Reads a request body into its own buffer of exactly its length. The memory is reserved as the
 * buffer grows.
 *
 * With a Content-Length the whole length is reserved at the start, so that a refusal is sent before
 * the body. Without one the buffer doubles, so its memory is proportional to the bytes that have
 * arrived, however small the chunks are. The bytes are not in Node.js's shared slabs, because each
 * remaining object would keep 64 KiB of them.
 *
 * The rest of a refused body is read and thrown away, so that the client can read the answer and
 * use the connection again. The server's `requestTimeout` limits how long this takes.
 *
 * @returns the body, whose memory is reserved: the caller passes it to `put`, or releases it.
 * Undefined if `accept` returns false.
 * @throws {HttpError} 413 above `maxBytes`, 507 if there is no room, and whatever `accept` throws.
 * @throws {ClientGoneError} if the client does not finish. After an exception nothing stays
 * reserved.
 */
export async function receive(
  request: IncomingMessage,
  options: ReceiveOptions,
): Promise<Upload | undefined> {
  const declared = Number(request.headers['content-length'] ?? 0)
  if (declared > options.maxBytes) throw objectTooLarge(options.maxBytes)
  const body = new Body(options, declared)
  let upload: Upload | undefined
  try {
    if (await options.accept()) {
      if (request.destroyed) throw new ClientGoneError()
      // A small body arrives with its head, so it is complete by now.
      if (request.complete) readBuffered(request, (chunk) => body.append(chunk))
      else await read(request, (chunk) => body.append(chunk))
      upload = body.finish()
    }
    return upload
  } finally {
    if (upload === undefined) {
      body.release()
      request.resume()
    }
  }
}

/**
 * Passes on the chunks of a complete body. One `read()` of Node.js 26 returns one chunk, and not
 * all of them.
 */
function readBuffered(request: IncomingMessage, onChunk: (chunk: Buffer) => void): void {
  for (let chunk = request.read(); chunk !== null; chunk = request.read()) onChunk(chunk)
}

/** Passes on the chunks of a body as they arrive, until the end or the first exception. */
function read(request: IncomingMessage, onChunk: (chunk: Buffer) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    let turnBytes = 0

    function append(chunk: Buffer): void {
      try {
        onChunk(chunk)
      } catch (error) {
        request.off('data', append)
        reject(error)
        return
      }
      turnBytes += chunk.length
      if (turnBytes < TURN_BYTES) return
      turnBytes = 0
      request.pause()
      setImmediate(() => request.resume())
    }

    request.on('data', append).once('end', resolve)
    request.once('close', () => {
      if (!request.readableEnded) reject(new ClientGoneError())
    })
  })
}

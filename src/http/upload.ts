import { createHash, type Hash, hash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { ClientGoneError, objectTooLarge, storeFull } from './errors.ts'

/**
 * What entity tags are made of: with the processor's help 0.6 us for 100 bytes and 1.8 GB/s, as fast as SHA-1, and nobody
 * can make two objects that have one (docs/performance.md).
 */
const HASH_ALGORITHM = 'sha256'

/** How much of the hash an entity tag keeps, in characters of base64url, of 6 bits each. */
const ETAG_CHARACTERS = 22

/** The first allocation for a body whose length is not known, in bytes. */
const FIRST_CAPACITY_BYTES = 64 * 1024

/**
 * After so many bytes of a body it is everybody else's turn. A client that is fast enough would keep the event loop for as long as
 * there is something to read: 32 uploads of 16 MiB at once held it for 400 ms, and with turns for 40 to 90 (`npm run bench:memory`).
 */
const TURN_BYTES = 128 * 1024

/**
 * So much of a body is hashed by one call, in bytes. A body of 64 KiB comes in two or three pieces, and a call for each of them
 * takes twice the time. 256 KiB hold the event loop for 0.15 ms.
 */
const HASHED_AT_ONCE_BYTES = 256 * 1024

const NO_BYTES = Buffer.alloc(0)

/** @throws {HttpError} 507 where the machine has no memory for it. */
function allocate(bytes: number): Buffer {
  try {
    return Buffer.allocUnsafeSlow(bytes)
  } catch {
    throw storeFull
  }
}

/** A body that has arrived, and its strong entity tag. */
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
  /** Called when memory for the body is reserved and before the body is read. Returns whether to read it. */
  accept: () => boolean | Promise<boolean>
}

/** A buffer that grows, reserved at every moment, and the hash of what is in it. */
class Body {
  readonly #options: ReceiveOptions
  readonly #declaredLength: number
  #reserved = 0
  #buffer: Buffer = NO_BYTES
  #length = 0
  #hashing: Hash | undefined
  #hashedBytes = 0

  /** @throws {HttpError} 507 where the declared length does not fit. */
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
      // All of the body, in memory of its own: Node.js has copied it.
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
    // JSON puts the quotes, and makes a new string: a slice would keep all of the digest alive.
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

  /** What is to be filled counts beside what it is filled from. */
  #grow(capacity: number): void {
    this.#reserve(capacity)
    this.#move(allocate(capacity))
  }

  /** A shorter copy of the same takes no more. */
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
 * Reads a request's body into one buffer of its own, of exactly its length, reserved from the store as it grows.
 *
 * With a Content-Length all of it is reserved at the start, so that a refusal is sent before the body; without
 * one the buffer doubles, which holds memory in proportion to what has arrived, however small its chunks are.
 * Nothing lies in Node.js' shared slabs, of which each survivor would hold 64 KiB.
 *
 * The rest of a refused body is read and thrown away, so that the client gets to read the answer and can go on
 * using the connection; the server's `requestTimeout` bounds that.
 *
 * @returns the body, reserved in the store: the caller passes both on to `put`, or releases them. Undefined where `accept`
 * has said no.
 * @throws {HttpError} 413 beyond `maxBytes`, 507 where the store has no room, and whatever `accept` throws.
 * @throws {ClientGoneError} if the client does not finish. Nothing stays reserved without a body.
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
      // A small body comes with its head, so all of it is here by now.
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

/** Passes on a body that is here. One `read()` of Node.js 26 returns one chunk, and not all that there are. */
function readBuffered(request: IncomingMessage, onChunk: (chunk: Buffer) => void): void {
  for (let chunk = request.read(); chunk !== null; chunk = request.read()) onChunk(chunk)
}

/** Passes on a body piece by piece, until its end or the first exception. */
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

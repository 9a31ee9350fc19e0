import type { IncomingMessage } from 'node:http'
import { ClientGoneError, objectTooLarge, storeFull } from './errors.ts'
import type { Store } from './store/store.ts'

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
 * @throws {HttpError} 413 beyond `maxBytes`, 507 where the store has no room.
 * @throws {ClientGoneError} if the client does not finish. Nothing stays reserved after an error.
 */
export function receive(
  request: IncomingMessage,
  maxBytes: number,
  store: Pick<Store, 'reserve' | 'release'>,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let buffer: Buffer = Buffer.allocUnsafeSlow(0)
    let length = 0

    const declared = Number(request.headers['content-length'] ?? 0)
    if (declared > maxBytes) return reject(objectTooLarge(maxBytes))
    if (!grow(declared)) return reject(storeFull())

    request.on('data', append).once('end', finish).once('error', abandon).once('close', abandon)

    function grow(capacity: number): boolean {
      if (!store.reserve(capacity)) return false
      const grown = allocate(capacity)
      if (grown === undefined) {
        store.release(capacity)
        return false
      }
      buffer.copy(grown, 0, 0, length)
      store.release(buffer.length)
      buffer = grown
      return true
    }

    function capacityFor(bytes: number): number {
      return Math.min(Math.max(bytes, 2 * buffer.length, FIRST_CAPACITY_BYTES), maxBytes)
    }

    function append(chunk: Buffer): void {
      const needed = length + chunk.length
      if (needed > maxBytes) {
        fail(objectTooLarge(maxBytes))
      } else if (needed > buffer.length && !grow(capacityFor(needed))) {
        fail(storeFull())
      } else {
        chunk.copy(buffer, length)
        length = needed
      }
    }

    function finish(): void {
      if (length < buffer.length && !shrink()) {
        fail(storeFull())
      } else {
        detach()
        resolve(buffer)
      }
    }

    function shrink(): boolean {
      const exact = allocate(length)
      if (exact === undefined) return false
      buffer.copy(exact, 0, 0, length)
      store.release(buffer.length - length)
      buffer = exact
      return true
    }

    function abandon(): void {
      fail(new ClientGoneError())
    }

    function fail(error: Error): void {
      detach()
      store.release(buffer.length)
      request.resume()
      reject(error)
    }

    function detach(): void {
      request.off('data', append).off('end', finish).off('error', abandon).off('close', abandon)
    }
  })
}

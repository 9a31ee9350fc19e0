import { overloaded } from '../../http/errors.ts'

/**
 * How long a transfer waits for its turn, in milliseconds. A client that has sent 16 MiB loses more
 * by a 503 than by waiting.
 */
const WAIT_MS = 4000

interface Waiting {
  readonly bytes: number
  admit(): void
  fail(error: Error): void
}

/**
 * Limits the bytes that are transferred at the same time. Waiting transfers are admitted in the
 * order of their arrival.
 */
export class Gate {
  readonly #limitBytes: number
  readonly #spareBytes: number
  readonly #onRefused: () => void
  readonly #queue = new Set<Waiting>()
  #usedBytes = 0

  /**
   * @param onRefused is called for each transfer that has waited too long.
   * @param spareBytes the part of the limit that only small objects may use.
   */
  constructor(limitBytes: number, onRefused: () => void, spareBytes = 0) {
    this.#limitBytes = limitBytes
    this.#spareBytes = spareBytes
    this.#onRefused = onRefused
  }

  /**
   * Takes room without waiting. Returns false if there is none. There always is for a response
   * without bytes, such as a 304.
   */
  tryEnter(bytes: number, isSmall = false): boolean {
    const limitBytes = this.#limitBytes - (isSmall ? 0 : this.#spareBytes)
    if (bytes > 0 && this.#usedBytes + bytes > limitBytes) return false
    this.#usedBytes += bytes
    return true
  }

  /**
   * Waits until there is room. The first part of a transfer waits for a limited time. The other
   * parts wait without a limit, because their transfer has been admitted.
   *
   * @returns undefined if there is room at once.
   * @throws {HttpError} 503 after 4 s, or at once if the limit is lower than `bytes`.
   */
  enter(bytes: number, isPatient = false): Promise<void> | undefined {
    if (this.#queue.size === 0 && this.tryEnter(bytes)) return undefined
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined
      const end = () => {
        clearTimeout(timer)
        this.#queue.delete(waiting)
      }
      const waiting: Waiting = {
        bytes,
        admit() {
          end()
          resolve()
        },
        fail(error) {
          end()
          reject(error)
        },
      }
      const refuse = () => {
        this.#onRefused()
        waiting.fail(overloaded)
      }
      this.#queue.add(waiting)
      const isPossible = bytes <= this.#limitBytes - this.#spareBytes
      if (!isPatient) timer = setTimeout(refuse, isPossible ? WAIT_MS : 0)
    })
  }

  leave(bytes: number): void {
    this.#usedBytes -= bytes
    for (const waiting of this.#queue) {
      if (!this.tryEnter(waiting.bytes)) break
      waiting.admit()
    }
  }

  /** Rejects everything that waits, because the server does not answer. */
  fail(error: Error): void {
    for (const waiting of this.#queue) waiting.fail(error)
  }
}

import type { Socket } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'

/** How often the same refusal is logged, in milliseconds. */
const INTERVAL_MS = 60_000

interface Refusals {
  /** The number of refusals since the last line. */
  count: number
  /** The address of the last sender. Undefined if its connection is closed. */
  address: string | undefined
  /** The other fields of the last refusal. */
  fields: object
  /** Ends the minute. */
  timer: NodeJS.Timeout
}

/**
 * Logs refusals, of which there may be thousands per second. For each message it logs the first
 * refusal at once. After that it logs one line per minute, with the number of refusals and the
 * address of the last sender. Messages must be few, because each has an entry.
 */
export class RefusalLog {
  readonly #log: FastifyBaseLogger
  readonly #refusals = new Map<string, Refusals>()

  constructor(log: FastifyBaseLogger) {
    this.#log = log
  }

  /** Notes a refusal. `fields` become part of the line. */
  note(message: string, socket: Socket, fields: object): void {
    const known = this.#refusals.get(message)
    const refusals = known ?? { count: 0, address: undefined, fields, timer: this.#wait(message) }
    refusals.count++
    refusals.address = socket.remoteAddress
    refusals.fields = fields
    if (known !== undefined) return
    this.#refusals.set(message, refusals)
    this.#write(message, refusals)
  }

  /** Logs the refusals that have not been logged yet. */
  close(): void {
    for (const [message, refusals] of this.#refusals) {
      clearTimeout(refusals.timer)
      if (refusals.count > 0) this.#write(message, refusals)
    }
    this.#refusals.clear()
  }

  #wait(message: string): NodeJS.Timeout {
    return setTimeout(() => this.#endMinute(message), INTERVAL_MS).unref()
  }

  #endMinute(message: string): void {
    const refusals = this.#refusals.get(message) as Refusals
    if (refusals.count === 0) return void this.#refusals.delete(message)
    this.#write(message, refusals)
    refusals.timer = this.#wait(message)
  }

  #write(message: string, refusals: Refusals): void {
    const { fields, address, count } = refusals
    this.#log.warn({ ...fields, address, count }, message)
    refusals.count = 0
  }
}

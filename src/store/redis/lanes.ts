import { ClientOfflineError } from '@redis/client'
import { TimeLimitError } from './answers.ts'
import type { Arguments, ConnectionOptions, Primary } from './connection.ts'
import { Gate } from './gate.ts'
import { CHECK_LIMIT_MS, Lane } from './lane.ts'

/**
 * After this many late checks in a row (about 3 s) a connection is replaced, even if others bring
 * answers.
 */
const MAX_LATE_CHECKS = 4

/**
 * The number of connections for large transfers in each direction. One receives while this process
 * reads from the other.
 */
const TRANSFER_LANES = 2

/**
 * The limit of bytes in large transfers at the same time, for each server: 17 ms and 34 ms of 1
 * Gbit/s. Small answers share the network with large reads. With 4 MiB for reads small answers took
 * up to 249 ms instead of 92 ms. With 2 MiB for writes only 89 % of the network was used instead of
 * 98 %.
 */
const WINDOW_BYTES = { read: 2 * 2 ** 20, write: 4 * 2 ** 20 }

export type Direction = 'read' | 'write'

/** The time that an operation has waited in this process. */
export interface Span {
  queuedMs: number
}

export interface Transfer {
  readonly direction: Direction
  readonly bytes: number
  /**
   * The waiting time is added to it. A transfer without a span is a part of an admitted one, and
   * waits without a limit.
   */
  readonly span?: Span
  /**
   * Called when the client library does not hold the command's bytes any more, even if the answer
   * was late.
   */
  onSettled?(): void
}

/**
 * Several connections, so that no object waits behind the bytes of another one. One is for checks,
 * statistics and listings, one for small commands, and some are for large transfers, whose bytes
 * are limited.
 */
export class Lanes {
  readonly #checks: Lane
  readonly #small: Lane
  readonly #transfers: Record<Direction, Lane[]>
  readonly #gates = new Map<string, Record<Direction, Gate>>()
  readonly #onRefused: () => void

  /** @param onRefused is called for each transfer that has waited too long for its turn. */
  constructor(options: ConnectionOptions, onRefused: () => void) {
    const open = () => new Lane(options)
    const openTransfers = () => Array.from({ length: TRANSFER_LANES }, open)
    this.#checks = open()
    this.#small = open()
    this.#transfers = { read: openTransfers(), write: openTransfers() }
    this.#onRefused = onRefused
  }

  /**
   * Sends a small command that has a small answer. `asBuffers` and `onSettled` are as in {@link
   * Connection} and {@link Transfer}.
   */
  send(key: string, args: Arguments, asBuffers = false, onSettled?: () => void): Promise<unknown> {
    return this.#small.send(key, args, asBuffers, onSettled)
  }

  /**
   * Sends a command for a listing. Its own connection keeps a page of many objects from delaying
   * small commands.
   */
  sendBeside(key: string, args: Arguments): Promise<unknown> {
    return this.#checks.send(key, args, true)
  }

  /**
   * Waits for its turn, and sends commands that are large or have large answers. They use one
   * connection, in their order. Strings in the answers are Buffers.
   *
   * @throws {HttpError} 503 if the wait is too long.
   */
  async transfer(
    key: string,
    { direction, bytes, span, onSettled }: Transfer,
    ...commands: Arguments[]
  ): Promise<unknown[]> {
    const address = this.#small.connection.addressOf(key)
    const gate = this.#gatesOf(address)[direction]
    // A transfer that is larger than the window runs alone.
    const room = Math.min(bytes, WINDOW_BYTES[direction])
    let unsettled = commands.length
    try {
      const turn = gate.enter(room, span === undefined)
      if (turn !== undefined) await waitIn(span, turn)
    } catch (error) {
      onSettled?.()
      throw error
    }
    const [first, ...others] = this.#transfers[direction]
    const lane = others.reduce(
      (best, next) => (next.trafficOf(address).bytes < best.trafficOf(address).bytes ? next : best),
      first as Lane,
    )
    const traffic = lane.trafficOf(address)
    traffic.bytes += bytes
    const settled = () => {
      if (--unsettled > 0) return
      traffic.bytes -= bytes
      gate.leave(room)
      onSettled?.()
    }
    try {
      return await Promise.all(commands.map((args) => lane.send(key, args, true, settled)))
    } catch (error) {
      if (error instanceof TimeLimitError) gate.fail(error)
      throw error
    }
  }

  /** A hash tag for other keys that must be on the same server as this key. */
  tagFor(key: string): string {
    return this.#small.connection.tagFor(key)
  }

  /** Every primary, over the connection for checks. */
  primaries(): Primary[] {
    return this.#checks.primaries()
  }

  /**
   * Looks a key up on each primary over each connection, and replaces dead connections. A late
   * answer is ignored while other connections to the same server bring answers, because then the
   * network is full and the server works.
   *
   * @returns the error of each primary, or undefined for a primary that works.
   */
  async check(key: string): Promise<(Error | undefined)[]> {
    const errors = new Map<string, Error | undefined>()
    const silent = new Set<string>()
    const checked = await Promise.all(
      this.#all().map(async (lane) => ({ lane, results: await lane.check(key) })),
    )
    const now = performance.now()
    for (const { lane, results } of checked) {
      for (const [address, error] of results) {
        const isLate = error instanceof TimeLimitError
        const isSilent =
          isLate && this.#all().every((each) => now - each.trafficOf(address).heardAt >= CHECK_LIMIT_MS)
        if (isSilent) silent.add(address)
        const known = errors.get(address)
        errors.set(address, isLate && !isSilent ? known : (known ?? error))
        if (isLate && !isSilent && ++lane.trafficOf(address).lateChecks >= MAX_LATE_CHECKS)
          lane.renew([address])
      }
    }
    for (const { lane, results } of checked)
      if (results.length === 0 || silent.size > 0) lane.renew([...silent])
    const isComplete = checked.every(({ results }) => results.length > 0)
    return isComplete ? [...errors.values()] : [new ClientOfflineError()]
  }

  /** Reconnects, because an address may now lead to another server. */
  renew(): void {
    for (const lane of this.#all()) lane.renew()
  }

  close(): void {
    for (const { connection } of this.#all()) connection.close()
  }

  #all(): Lane[] {
    return [this.#checks, this.#small, ...this.#transfers.read, ...this.#transfers.write]
  }

  #gatesOf(address: string): Record<Direction, Gate> {
    let gates = this.#gates.get(address)
    if (gates === undefined) {
      const open = (direction: Direction) => new Gate(WINDOW_BYTES[direction], this.#onRefused)
      gates = { read: open('read'), write: open('write') }
      this.#gates.set(address, gates)
    }
    return gates
  }
}

/** Waits for a turn, and adds the time to the span if there is one. */
export async function waitIn(span: Span | undefined, turn: Promise<void>): Promise<void> {
  const begunAt = performance.now()
  try {
    await turn
  } finally {
    if (span !== undefined) span.queuedMs += performance.now() - begunAt
  }
}

import type { Socket } from 'node:net'
import { Node, Yallist } from 'yallist'

/**
 * Why the server closes a connection that its client would keep: the label of
 * `http_connections_closed_total`.
 */
export type CloseReason = 'limit' | 'idle' | 'timeout'

/** The place of an accepted connection in one of the lists. */
const PLACE = Symbol('place')

declare module 'node:net' {
  interface Socket {
    [PLACE]?: Node<Socket>
  }
}

/** The accepted connections, and how many of them there may be. */
export class OpenSockets {
  /** How many connections were closed for each reason. */
  readonly closed: Record<CloseReason, number> = { limit: 0, idle: 0, timeout: 0 }
  readonly #maxCount: number
  readonly #onLimit: (socket: Socket, limit: string) => void
  /**
   * The connections without a current request. The one that has been idle for longest comes first.
   */
  readonly #idle = new Yallist<Socket>()
  readonly #busy = new Yallist<Socket>()

  /** @param onLimit is called for each connection that is closed to keep to a limit. */
  constructor(maxCount: number, onLimit: (socket: Socket, limit: string) => void) {
    this.#maxCount = maxCount
    this.#onLimit = onLimit
  }

  /** How many connections are open. */
  get count(): number {
    return this.#idle.length + this.#busy.length
  }

  /**
   * The connections that have a current request. The iteration ends early if the connection that it
   * has returned is closed.
   */
  get busy(): Iterable<Socket> {
    return this.#busy
  }

  /**
   * Adds a connection that the server has accepted. If there are too many, the one that has been
   * idle for longest is closed. If none is idle, the new one is closed.
   */
  accept(socket: Socket): void {
    socket[PLACE] = new Node(socket)
    this.#idle.pushNode(socket[PLACE])
    socket.once('close', () => this.#remove(socket))
    if (this.count > this.#maxCount) this.cutAtLimit(this.#idle.head?.value as Socket, 'too many are open')
  }

  /** The connection has a current request from now on. */
  work(socket: Socket): void {
    if (socket[PLACE]?.list !== undefined) this.#busy.pushNode(socket[PLACE])
  }

  /** The connection has no current request from now on. */
  rest(socket: Socket): void {
    if (socket[PLACE]?.list !== undefined) this.#idle.pushNode(socket[PLACE])
  }

  /**
   * Limits how long a current request may neither receive nor send anything. To be called again and
   * again, because Node.js sets another timeout after each request. A timeout from the start of
   * each request takes 6 % of the processor time of a GET, because each read and each write starts
   * it again (`npm run bench`, with and without `connectionTimeout`).
   */
  limitStalls(timeoutMs: number): void {
    for (const socket of this.#busy) if (socket.timeout !== timeoutMs) socket.setTimeout(timeoutMs)
  }

  /** Closes a connection at once. */
  cut(socket: Socket, reason: CloseReason): void {
    this.closed[reason]++
    socket.destroy()
    this.#remove(socket)
  }

  /** Closes a connection at once to keep to a limit. */
  cutAtLimit(socket: Socket, limit: string): void {
    this.#onLimit(socket, limit)
    this.cut(socket, 'limit')
  }

  /** Closes the connections that have no current request. */
  destroyIdle(): void {
    for (const socket of this.#idle) socket.destroy()
  }

  #remove(socket: Socket): void {
    socket[PLACE]?.list?.removeNode(socket[PLACE])
  }
}

import type { Socket } from 'node:net'

/**
 * Why the server closes a connection that its client would keep: the label of
 * `http_connections_closed_total`.
 */
export type CloseReason = 'limit' | 'idle' | 'timeout'

/** The accepted connections, and how many of them there may be. */
export class OpenSockets {
  /** How many connections were closed for each reason. */
  readonly closed: Record<CloseReason, number> = { limit: 0, idle: 0, timeout: 0 }
  readonly #maxCount: number
  readonly #onLimit: (socket: Socket, limit: string) => void
  /**
   * The connections without a current request. The one that has been idle for longest comes first.
   */
  readonly #idle = new Set<Socket>()
  readonly #busy = new Set<Socket>()

  /** @param onLimit is called for each connection that is closed to keep to a limit. */
  constructor(maxCount: number, onLimit: (socket: Socket, limit: string) => void) {
    this.#maxCount = maxCount
    this.#onLimit = onLimit
  }

  /** How many connections are open. */
  get count(): number {
    return this.#idle.size + this.#busy.size
  }

  /** The connections that have a current request. */
  get busy(): Iterable<Socket> {
    return this.#busy
  }

  /**
   * Adds a connection that the server has accepted. If there are too many, the one that has been
   * idle for longest is closed. If none is idle, the new one is closed.
   */
  accept(socket: Socket): void {
    this.#idle.add(socket)
    socket.once('close', () => this.#remove(socket))
    if (this.count <= this.#maxCount) return
    const [oldest = socket] = this.#idle
    this.cutAtLimit(oldest, 'too many are open')
  }

  /** The connection has a current request from now on. */
  work(socket: Socket): void {
    if (this.#idle.delete(socket)) this.#busy.add(socket)
  }

  /** The connection has no current request from now on. */
  rest(socket: Socket): void {
    if (this.#busy.delete(socket)) this.#idle.add(socket)
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
    this.#idle.delete(socket)
    this.#busy.delete(socket)
  }
}

import { createClient, createCluster, RESP_TYPES } from '@redis/client'
import type { Address, RemoteEngine } from '../storage-url.ts'
import { hashTagOf, makeHashTags, slotOf } from './hash-tags.ts'

/** How long a connection may take to open, with TLS and greeting, or be silent, in milliseconds. */
const CONNECT_MS = 1000

/**
 * The time until the next attempt to connect, in milliseconds. The second one is for errors that a
 * retry does not solve.
 */
const RETRY_MS = 250
const RETRY_REFUSED_MS = 1000

/** How long a replaced connection is kept for outstanding answers, in milliseconds. */
const RETIRE_MS = 1000

/**
 * The maximum number of commands that wait for a server. Each takes about 300 bytes in addition to
 * its payload.
 */
const MAX_WAITING_COMMANDS = 10_000

export type Arguments = (string | Buffer)[]

/** A server that accepts writes: the only server, or one of a cluster. */
export interface Primary {
  readonly address: string
  send(args: Arguments): Promise<unknown>
}

/**
 * A connection to one server or to a cluster. It reconnects by itself. Commands are rejected when
 * it is lost.
 */
export interface Connection {
  /**
   * Sends a command to the server that holds the key. With `asBuffers` strings in the answer are
   * Buffers.
   */
  send(key: string, args: Arguments, asBuffers?: boolean): Promise<unknown>
  /** The address of the primary that holds the key, as in {@link Primary}. */
  addressOf(key: string): string
  /** A hash tag for other keys that must be on the same server as this key. */
  tagFor(key: string): string
  /**
   * Every primary, in an order that changes only with the cluster. Empty before the first
   * connection.
   */
  primaries(): Primary[]
  /** Reconnects. Does not ask the `silent` servers for the topology of the cluster. */
  renew(silent?: string[]): void
  close(): void
}

export interface ConnectionOptions extends Omit<RemoteEngine, 'engine'> {
  onReady(): void
  onError(error: Error): void
}

/**
 * The library's time limit ends when a command is sent, and its timer costs a quarter of a small
 * command.
 */
const WITHOUT_TIMEOUT = { timeout: 0 }

const AS_BUFFERS = { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } }

/** Whether the server rejects the user or the password. */
export const isRefusal = (error: unknown) =>
  /^(?:WRONGPASS|NOAUTH|NOPERM|ERR AUTH|ERR invalid password)/.test((error as Error).message)

/** Whether OpenSSL rejects the server's certificate. */
export const isUntrusted = (error: unknown) =>
  /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|INVALID_CA|INVALID_PURPOSE/.test((error as { code?: string }).code ?? '')

/**
 * The first word of a server's error, such as `MOVED`. Undefined if the error does not come from a
 * server.
 */
export const errorCode = (error: unknown) => /^[A-Z]+(?= |$)/.exec((error as Error).message)?.[0]

/** The options of every client. */
function clientOptions({ isTls, ca, username, password }: ConnectionOptions) {
  const socket = {
    connectTimeout: CONNECT_MS,
    // The library has no time limit for the greeting. The health checks keep an idle connection
    // busy.
    socketTimeout: 2 * CONNECT_MS,
    reconnectStrategy: (_retries: number, cause: Error) =>
      isRefusal(cause) || isUntrusted(cause) ? RETRY_REFUSED_MS : RETRY_MS,
  }
  return {
    socket: isTls ? { ...socket, tls: true as const, ...(ca === undefined ? {} : { ca }) } : socket,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    disableOfflineQueue: true,
    commandsQueueMaxLength: MAX_WAITING_COMMANDS,
    commandOptions: WITHOUT_TIMEOUT,
    maintNotifications: 'disabled' as const,
  }
}

/** One server. */
class SingleConnection implements Connection {
  readonly #options: ConnectionOptions
  #client: ReturnType<SingleConnection['open']>

  constructor(options: ConnectionOptions) {
    this.#options = options
    this.#client = this.open()
  }

  open() {
    const options = clientOptions(this.#options)
    const [address] = this.#options.addresses
    const client = createClient({
      ...options,
      database: this.#options.database,
      socket: { ...options.socket, ...address } as typeof options.socket,
    })
    client.on('error', this.#options.onError).on('ready', this.#options.onReady)
    // It retries for ever, and rejects only when it is closed.
    client.connect().catch(() => {})
    return client
  }

  send(_key: string, args: Arguments, asBuffers = false): Promise<unknown> {
    return this.#client.sendCommand(args, asBuffers ? AS_BUFFERS : undefined)
  }

  addressOf(): string {
    return ''
  }

  tagFor(): string {
    return ''
  }

  primaries(): Primary[] {
    return [{ address: '', send: (args) => this.#client.sendCommand(args) }]
  }

  renew(): void {
    this.#client.destroy()
    this.#client = this.open()
  }

  close(): void {
    this.#client.destroy()
  }
}

/**
 * A cluster. It connects to a server when the server is needed, so that one that is down does not
 * delay the others.
 */
class ClusterConnection implements Connection {
  readonly #options: ConnectionOptions
  #cluster: ReturnType<ClusterConnection['open']>
  #next: ReturnType<ClusterConnection['open']> | undefined

  constructor(options: ConnectionOptions) {
    this.#options = options
    this.#cluster = this.open(options.addresses)
    makeHashTags()
    this.renew()
  }

  /**
   * Makes a client that is not connected yet. It will ask one of the servers for the topology of
   * the cluster.
   */
  open(addresses: Address[]) {
    const { onError, onReady } = this.#options
    const cluster = createCluster({
      // A silent server must not delay the others.
      rootNodes: addresses.map((address) => ({ socket: { ...address, socketTimeout: CONNECT_MS } })),
      defaults: clientOptions(this.#options),
      commandOptions: WITHOUT_TIMEOUT,
      minimizeConnections: true,
      topologyRefreshOnReconnectionAttemptStrategy: RETRY_MS,
    })
    cluster.on('error', onError).on('node-error', onError).on('node-ready', onReady)
    return cluster
  }

  async send(key: string, args: Arguments, asBuffers = false): Promise<unknown> {
    return this.#cluster.sendCommand(key, false, args, asBuffers ? AS_BUFFERS : undefined)
  }

  addressOf(key: string): string {
    return this.#cluster.slots[slotOf(key)]?.master.address ?? ''
  }

  tagFor(key: string): string {
    return hashTagOf(key)
  }

  primaries(): Primary[] {
    const cluster = this.#cluster
    return [...new Set(cluster.slots.map((slot) => slot?.master))]
      .filter((node) => node !== undefined)
      .map((node) => ({
        address: node.address,
        send: async (args) => (await cluster.nodeClient(node)).sendCommand(args),
      }))
  }

  renew(silent: string[] = []): void {
    const known = this.#cluster.masters.map(({ host, port }) => ({ host, port }))
    const addresses = [...known, ...this.#options.addresses].filter(
      ({ host, port }) => !silent.includes(`${host}:${port}`),
    )
    if (this.#next !== undefined || addresses.length === 0) return
    const next = this.open(addresses)
    this.#next = next
    next
      .connect()
      .then(() => {
        const old = this.#cluster
        this.#cluster = next
        setTimeout(() => old.destroy(), RETIRE_MS).unref()
        this.#options.onReady()
      })
      // The client has emitted the error as an event.
      .catch(() => {})
      .finally(() => {
        this.#next = undefined
      })
  }

  close(): void {
    this.#next?.destroy()
    this.#cluster.destroy()
  }
}

export const connect = (options: ConnectionOptions): Connection =>
  options.isCluster ? new ClusterConnection(options) : new SingleConnection(options)

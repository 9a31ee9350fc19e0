import { setTimeout as sleep } from 'node:timers/promises'
import { ClientOfflineError, DisconnectsClientError, SocketTimeoutError } from '@redis/client'
import type { FastifyBaseLogger } from 'fastify'
import { type Deadlines, TimeLimitError } from './deadlines.ts'
import { type Connection, isRefusal, isUntrusted } from './redis-connection.ts'

/** How long from one check to the next, and how long one may take, in milliseconds. */
const INTERVAL_MS = 500
const CHECK_LIMIT_MS = 1000

/** The first word of a server's error, `MOVED` say, where the error is a server's. */
export const errorCode = (error: unknown) => /^[A-Z]+(?= |$)/.exec((error as Error).message)?.[0]

/** What is the matter, in words that are fit for everybody. */
function describe(error: Error): string {
  if (isRefusal(error)) return 'storage engine refuses the user or the password'
  if (isUntrusted(error)) return 'storage engine has a certificate that is not trusted'
  if (error instanceof TimeLimitError || error instanceof SocketTimeoutError)
    return 'storage engine does not answer'
  if (errorCode(error) === 'LOADING') return 'storage engine is loading its data'
  if (errorCode(error) === 'CLUSTERDOWN') return 'storage engine is a cluster without some of its slots'
  return 'storage engine is unreachable'
}

/** Asks an engine over a network how it is, all the time, so that nobody else has to. */
export class Health {
  /** What is the matter; undefined while nothing is. */
  trouble: string | undefined = 'storage engine is not connected yet'
  /** Resolves when it is first known whether the engine can be used. */
  readonly known: Promise<void>
  readonly #connection: Connection
  readonly #deadlines: Deadlines
  readonly #log: FastifyBaseLogger
  readonly #key: string
  readonly #closing = new AbortController()
  #resolveKnown: () => void
  #connectionError: Error | undefined
  #begun = 0
  #told = 0

  /** `key` is looked up on each primary; there need not be one. */
  constructor(connection: Connection, deadlines: Deadlines, log: FastifyBaseLogger, key: string) {
    this.#connection = connection
    this.#deadlines = deadlines
    this.#log = log
    this.#key = key
    const known = Promise.withResolvers<void>()
    this.known = known.promise
    this.#resolveKnown = known.resolve
    this.#watch()
  }

  /** Told by the connection. */
  onError(error: Error): void {
    this.#connectionError = error
    if (this.trouble !== undefined) this.#tell(error)
  }

  /** Told by the connection: what is well again is well at once. */
  onReady(): void {
    this.#connectionError = undefined
    this.#check()
  }

  close(): void {
    this.#closing.abort()
  }

  async #watch(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      this.#check()
      await sleep(INTERVAL_MS, undefined, { signal, ref: false }).catch(() => {})
    }
  }

  /** Does not wait for the one before: of a server that is silent, the next is to be known as soon. */
  async #check(): Promise<void> {
    const number = ++this.#begun
    const primaries = this.#connection.primaries()
    const checks = primaries.map(({ send }) =>
      this.#deadlines.limit(send(['EXISTS', this.#key]), CHECK_LIMIT_MS),
    )
    const results = await Promise.allSettled(checks)
    if (number < this.#told || this.#closing.signal.aborted) return
    this.#told = number
    const failures = results
      .filter((result) => result.status === 'rejected')
      .map(({ reason }) => reason as Error)
      // A primary that names the one which holds the key is well.
      .filter((error) => errorCode(error) !== 'MOVED')
    const error = failures[0] ?? (results.length === 0 ? new ClientOfflineError() : undefined)
    // Of a cluster some part may serve.
    if (error === undefined || failures.length < results.length) this.#tell(undefined)
    else this.#tell(error instanceof ClientOfflineError ? (this.#connectionError ?? error) : error)
    const silent = primaries.filter((_primary, i) => {
      const result = results[i]
      return result?.status === 'rejected' && result.reason instanceof TimeLimitError
    })
    if (primaries.length === 0 || silent.length > 0)
      this.#connection.renew(silent.map(({ address }) => address))
  }

  /** Says so once when it goes, once for what else becomes of it, and once when it is back. */
  #tell(error: Error | undefined): void {
    // The first attempt has not ended yet, or the connection has been replaced since it was asked.
    if (error instanceof ClientOfflineError || error instanceof DisconnectsClientError) return
    const trouble = error && describe(error)
    if (trouble !== this.trouble) {
      if (error !== undefined)
        this.#log.error({ cause: error.message, code: (error as NodeJS.ErrnoException).code }, trouble)
      else this.#log.info('storage engine is available')
    }
    this.trouble = trouble
    this.#resolveKnown()
  }
}

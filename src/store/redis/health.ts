import { setTimeout as sleep } from 'node:timers/promises'
import { ClientOfflineError, DisconnectsClientError, SocketTimeoutError } from '@redis/client'
import type { FastifyBaseLogger } from 'fastify'
import { TimeLimitError } from './answers.ts'
import { errorCode, isRefusal, isUntrusted } from './connection.ts'
import type { Lanes } from './lanes.ts'

/** How long from one check to the next, in milliseconds. */
const INTERVAL_MS = 500

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
  readonly #lanes: Lanes
  readonly #log: FastifyBaseLogger
  readonly #key: string
  readonly #closing = new AbortController()
  #resolveKnown: () => void
  #connectionError: Error | undefined
  #begun = 0
  #told = 0

  /** `key` is looked up on each primary; there need not be one. */
  constructor(lanes: Lanes, log: FastifyBaseLogger, key: string) {
    this.#lanes = lanes
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

  /** Does not wait for the check before, because the next one may be the first to be answered. */
  async #check(): Promise<void> {
    const number = ++this.#begun
    const results = await this.#lanes.check(this.#key)
    if (number < this.#told || this.#closing.signal.aborted) return
    this.#told = number
    const failures = results.filter((error) => error !== undefined)
    const [error] = failures
    // Of a cluster some part may serve.
    if (error === undefined || failures.length < results.length) this.#tell(undefined)
    else this.#tell(error instanceof ClientOfflineError ? (this.#connectionError ?? error) : error)
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

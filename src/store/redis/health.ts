import { setTimeout as sleep } from 'node:timers/promises'
import { ClientOfflineError, DisconnectsClientError, SocketTimeoutError } from '@redis/client'
import type { FastifyBaseLogger } from 'fastify'
import { TimeLimitError } from './answers.ts'
import { errorCode, isRefusal, isUntrusted } from './connection.ts'
import type { Lanes } from './lanes.ts'

/** The time between two checks, in milliseconds. */
const INTERVAL_MS = 500

/** Describes the trouble in words that clients may see. */
function describe(error: Error): string {
  if (isRefusal(error)) return 'storage engine refuses the user or the password'
  if (isUntrusted(error)) return 'storage engine has a certificate that is not trusted'
  if (error instanceof TimeLimitError || error instanceof SocketTimeoutError)
    return 'storage engine does not answer'
  if (errorCode(error) === 'LOADING') return 'storage engine is loading its data'
  if (errorCode(error) === 'CLUSTERDOWN') return 'storage engine is a cluster without some of its slots'
  return 'storage engine is unreachable'
}

/** Checks an engine over a network regularly, so that `/readyz` can answer at once. */
export class Health {
  /** Why the engine cannot be used. Undefined while it can be used. */
  trouble: string | undefined = 'storage engine is not connected yet'
  /** Resolves after the first check. */
  readonly known: Promise<void>
  readonly #lanes: Lanes
  readonly #log: FastifyBaseLogger
  readonly #key: string
  readonly #closing = new AbortController()
  #resolveKnown: () => void
  #connectionError: Error | undefined
  #begun = 0
  #told = 0

  /** @param key is looked up on each primary. It need not exist. */
  constructor(lanes: Lanes, log: FastifyBaseLogger, key: string) {
    this.#lanes = lanes
    this.#log = log
    this.#key = key
    const known = Promise.withResolvers<void>()
    this.known = known.promise
    this.#resolveKnown = known.resolve
    this.#watch()
  }

  /** Called for each error of a connection. */
  onError(error: Error): void {
    this.#connectionError = error
    if (this.trouble !== undefined) this.#tell(error)
  }

  /** Called when a connection is ready. Checks at once, so that the trouble ends at once. */
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

  /** Does not wait for the previous check, because the next one may be answered first. */
  async #check(): Promise<void> {
    const number = ++this.#begun
    const results = await this.#lanes.check(this.#key)
    if (number < this.#told || this.#closing.signal.aborted) return
    this.#told = number
    const failures = results.filter((error) => error !== undefined)
    const [error] = failures
    // A cluster can be used while one of its primaries can be used.
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

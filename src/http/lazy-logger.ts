import type { FastifyBaseLogger } from 'fastify'

type Line = Parameters<FastifyBaseLogger['info']>

/**
 * A logger that is created for its first line. A request has its own, and most requests have no
 * line. A logger that is created for each request takes 5 % of the processor time of a GET
 * (`npm run bench`, with and without `childLoggerFactory`).
 */
export class LazyLogger implements FastifyBaseLogger {
  readonly level: string
  readonly #create: () => FastifyBaseLogger
  #created: FastifyBaseLogger | undefined

  /** @param level is the level of the logger that `create` returns. */
  constructor(level: string, create: () => FastifyBaseLogger) {
    this.level = level
    this.#create = create
  }

  get #logger(): FastifyBaseLogger {
    this.#created ??= this.#create()
    return this.#created
  }

  child(...args: Parameters<FastifyBaseLogger['child']>): FastifyBaseLogger {
    return this.#logger.child(...args)
  }

  fatal(...line: Line): void {
    this.#logger.fatal(...line)
  }

  error(...line: Line): void {
    this.#logger.error(...line)
  }

  warn(...line: Line): void {
    this.#logger.warn(...line)
  }

  info(...line: Line): void {
    this.#logger.info(...line)
  }

  /** Each request has lines at this level, which are not written by default. */
  debug(...line: Line): void {
    if (this.level === 'debug' || this.level === 'trace') this.#logger.debug(...line)
  }

  trace(...line: Line): void {
    this.#logger.trace(...line)
  }

  silent(): void {}
}

import { getHeapStatistics } from 'node:v8'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { overloaded } from '../errors.ts'

export interface OverloadOptions {
  /** How long requests may wait, however many of them come, in milliseconds: CoDel's TARGET. */
  targetMs?: number
  /** For how long every request has to wait longer before some are refused, in milliseconds: CoDel's INTERVAL. */
  intervalMs?: number
  /**
   * How much of V8's heap may be in use, in bytes. The default is 90 % of its limit: above it V8 spends its time on
   * garbage collection, and then aborts. The store stays below a quarter.
   */
  maxHeapUsedBytes?: number
  /** How often the heap is looked at, in milliseconds. */
  sampleIntervalMs?: number
  /** A clock, in milliseconds. */
  now?: () => number
}

/**
 * Tells a standing queue from a burst, as CoDel does (RFC 8289 section 5): requests are refused only after each of them has
 * waited longer than the target for a whole interval.
 *
 * The queue is in the kernel, so the time that a request has waited is taken from the turns of the event loop. A turn begins
 * every request that has arrived, in the order of arrival: the last one has waited for the others, and the first
 * one for the turn before. So the shortest wait is about the length of the turn, and a turn that is shorter than the target
 * ends the interval. A pause of the process makes one long turn, and the short turns after it serve the backlog.
 */
class StandingQueue {
  readonly #targetMs: number
  readonly #intervalMs: number
  readonly #now: () => number
  #turnBegan: number | undefined
  /** Since when every request has waited longer than the target. */
  #aboveSince: number | undefined

  constructor(targetMs: number, intervalMs: number, now: () => number) {
    this.#targetMs = targetMs
    this.#intervalMs = intervalMs
    this.#now = now
  }

  /** Takes note of a request that begins, and says whether to refuse it. */
  enter(): boolean {
    const now = this.#now()
    if (this.#turnBegan === undefined) {
      this.#turnBegan = now
      setImmediate(() => this.#endTurn())
    }
    if (now - this.#turnBegan <= this.#targetMs) return false
    this.#aboveSince ??= now
    return now - this.#aboveSince > this.#intervalMs
  }

  #endTurn(): void {
    const isLong = this.#now() - (this.#turnBegan as number) > this.#targetMs
    this.#turnBegan = undefined
    if (!isLong) this.#aboveSince = undefined
    // Where the next turn begins no request, none waits.
    else setImmediate(() => this.#endIntervalIfIdle())
  }

  #endIntervalIfIdle(): void {
    if (this.#turnBegan === undefined) this.#aboveSince = undefined
  }
}

const plugin: FastifyPluginAsync<OverloadOptions> = async (app, options) => {
  const {
    targetMs = 400,
    intervalMs = 300,
    maxHeapUsedBytes = 0.9 * getHeapStatistics().heap_size_limit,
    sampleIntervalMs = 1000,
    now = () => performance.now(),
  } = options
  const queue = new StandingQueue(targetMs, intervalMs, now)
  let isHeapFull = false
  let refused = 0
  let wasOverloaded = false
  const timer = setInterval(() => {
    const heapUsedBytes = getHeapStatistics().used_heap_size
    isHeapFull = heapUsedBytes > maxHeapUsedBytes
    const isOverloaded = isHeapFull || refused > 0
    if (isOverloaded !== wasOverloaded)
      app.log.warn({ refused, heapUsedBytes }, isOverloaded ? 'overloaded' : 'not overloaded any more')
    wasOverloaded = isOverloaded
    refused = 0
  }, sampleIntervalMs).unref()
  app.addHook('onClose', async () => clearInterval(timer))

  app.addHook('onRequest', (_request, _reply, done) => {
    if (!queue.enter() && !isHeapFull) return done()
    refused++
    done(overloaded())
  })
}

/** Answers 503 with `Retry-After` to the routes of its scope while requests come faster than the process can serve them. */
export default fp(plugin, { name: 'overload' })

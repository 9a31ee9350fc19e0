import { getHeapStatistics } from 'node:v8'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { overloaded } from '../http/errors.ts'

export interface OverloadOptions {
  /** How long requests may wait without being refused, in milliseconds: CoDel's TARGET. */
  targetMs?: number
  /**
   * How long every request must have waited longer than the target before requests are refused, in
   * milliseconds: CoDel's INTERVAL.
   */
  intervalMs?: number
  /**
   * The longest time between two requests that counts as work, in milliseconds. By default 100: the
   * kernel stops a process that has used its quota until the next period of 100 ms begins (cgroups,
   * `cpu.max`).
   */
  maxWorkMs?: number
  /**
   * How much of V8's heap may be in use, in bytes. The default is 90 % of its limit: above it V8
   * spends its time on garbage collection, and then aborts. The store stays below a quarter.
   */
  maxHeapUsedBytes?: number
  /** How often the heap is measured, in milliseconds. */
  sampleIntervalMs?: number
  /** A clock, in milliseconds. */
  now?: () => number
}

/**
 * Tells a standing queue from a burst, as CoDel does (RFC 8289 section 5). It refuses requests only
 * after each request has waited longer than the target for a whole interval.
 *
 * The queue is in the kernel, so the time that a request has waited is taken from the turns of the
 * event loop. A turn begins every request that has arrived, in the order of arrival. The last one
 * has waited for the others, and the first one has waited for the turn before. So the shortest wait
 * is about the length of the turn, and a turn that is shorter than the target ends the interval.
 *
 * A pause of the process is not work: of the time between two requests no more than `maxWorkMs`
 * counts. So a pause makes no turn long, whether the process was stopped, used up its quota, or
 * collected garbage.
 */
class StandingQueue {
  readonly #targetMs: number
  readonly #intervalMs: number
  readonly #maxWorkMs: number
  readonly #now: () => number
  #lookedAt = 0
  /** The sum of the time that counts as work, in milliseconds. */
  #workedMs = 0
  #turnBegan: number | undefined
  /** The time since which every request has waited longer than the target. */
  #aboveSince: number | undefined

  constructor(targetMs: number, intervalMs: number, maxWorkMs: number, now: () => number) {
    this.#targetMs = targetMs
    this.#intervalMs = intervalMs
    this.#maxWorkMs = maxWorkMs
    this.#now = now
  }

  /** To be called when a request begins. Returns whether to refuse it. */
  enter(): boolean {
    const workedMs = this.#work()
    if (this.#turnBegan === undefined) {
      this.#turnBegan = workedMs
      setImmediate(() => this.#endTurn())
    }
    if (workedMs - this.#turnBegan <= this.#targetMs) return false
    this.#aboveSince ??= workedMs
    return workedMs - this.#aboveSince > this.#intervalMs
  }

  #work(): number {
    const now = this.#now()
    this.#workedMs += Math.min(now - this.#lookedAt, this.#maxWorkMs)
    this.#lookedAt = now
    return this.#workedMs
  }

  #endTurn(): void {
    const isLong = this.#work() - (this.#turnBegan as number) > this.#targetMs
    this.#turnBegan = undefined
    if (!isLong) this.#aboveSince = undefined
    // If the next turn begins no request, no request waits.
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
    maxWorkMs = 100,
    maxHeapUsedBytes = 0.9 * getHeapStatistics().heap_size_limit,
    sampleIntervalMs = 1000,
    now = () => performance.now(),
  } = options
  const queue = new StandingQueue(targetMs, intervalMs, maxWorkMs, now)
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

  app.addHook('onRequest', (_request, reply, done) => {
    if (!queue.enter() && !isHeapFull) return done()
    refused++
    reply.refuse(overloaded)
  })
}

/**
 * Answers 503 with `Retry-After` to the routes of its scope while requests come faster than the
 * process can serve them.
 */
export default fp(plugin, { name: 'overload', dependencies: ['errors'] })

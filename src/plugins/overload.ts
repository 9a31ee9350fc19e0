import { monitorEventLoopDelay } from 'node:perf_hooks'
import { getHeapStatistics } from 'node:v8'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { overloaded } from '../errors.ts'

export interface OverloadOptions {
  /**
   * The longest mean delay of the event loop, in milliseconds. By default a hundred times the latency objective
   * of 10 ms: clients have begun to give up.
   */
  maxEventLoopDelayMs?: number
  /**
   * The most of V8's heap that may be in use, in bytes. By default 90 % of its limit: beyond it V8 spends its time
   * collecting, and then aborts. The store stays below a quarter.
   */
  maxHeapUsedBytes?: number
  /** How often both are looked at, in milliseconds. */
  sampleIntervalMs?: number
}

/** How often the event loop is asked to be on time, in milliseconds. */
const RESOLUTION_MS = 10

const plugin: FastifyPluginAsync<OverloadOptions> = async (app, options) => {
  const {
    maxEventLoopDelayMs = 1000,
    maxHeapUsedBytes = 0.9 * getHeapStatistics().heap_size_limit,
    sampleIntervalMs = 1000,
  } = options
  let overload = false
  let lookedAt = performance.now()

  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  delays.enable()
  const timer = setInterval(() => {
    const now = performance.now()
    // Not a number where there was no sample, for want of a single turn of the event loop.
    const eventLoopDelayMs = Number.isNaN(delays.mean) ? now - lookedAt : delays.mean / 1e6 - RESOLUTION_MS
    lookedAt = now
    delays.reset()
    const heapUsedBytes = getHeapStatistics().used_heap_size
    if (overload === (eventLoopDelayMs > maxEventLoopDelayMs || heapUsedBytes > maxHeapUsedBytes)) return
    overload = !overload
    app.log.warn({ eventLoopDelayMs, heapUsedBytes }, overload ? 'overloaded' : 'not overloaded any more')
  }, sampleIntervalMs).unref()
  app.addHook('onClose', async () => {
    clearInterval(timer)
    delays.disable()
  })

  app.addHook('onRequest', (_request, _reply, done) => done(overload ? overloaded() : undefined))
}

/** Answers 503 with `Retry-After` to the routes of its scope while the process has more to do than it can. */
export default fp(plugin, { name: 'overload' })

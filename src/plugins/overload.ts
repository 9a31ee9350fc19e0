import { getHeapStatistics } from 'node:v8'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { overloaded } from '../errors.ts'

export interface OverloadOptions {
  /**
   * How long requests may have waited for their turn, in milliseconds. By default fifty times the latency objective of
   * 10 ms. What is answered later has few clients left.
   */
  maxWaitMs?: number
  /**
   * The most of V8's heap that may be in use, in bytes. By default 90 % of its limit: beyond it V8 spends its time
   * collecting, and then aborts. The store stays below a quarter.
   */
  maxHeapUsedBytes?: number
  /** How often the heap is looked at, in milliseconds. */
  sampleIntervalMs?: number
}

const plugin: FastifyPluginAsync<OverloadOptions> = async (app, options) => {
  const {
    maxWaitMs = 500,
    maxHeapUsedBytes = 0.9 * getHeapStatistics().heap_size_limit,
    sampleIntervalMs = 1000,
  } = options
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

  // In one turn of the event loop what has arrived is begun, one request after another: the last has waited for all others.
  let turnBegan: number | undefined
  const endTurn = () => {
    turnBegan = undefined
  }
  app.addHook('onRequest', (_request, _reply, done) => {
    const now = performance.now()
    if (turnBegan === undefined) {
      turnBegan = now
      setImmediate(endTurn)
    }
    if (!isHeapFull && now - turnBegan <= maxWaitMs) return done()
    refused++
    done(overloaded())
  })
}

/** Answers 503 with `Retry-After` to the routes of its scope while the process has more to do than it can. */
export default fp(plugin, { name: 'overload' })

import { getHeapStatistics } from 'node:v8'
import underPressure from '@fastify/under-pressure'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { OverloadedError } from '../errors.ts'

export interface OverloadOptions {
  /** The longest mean delay of the event loop, in milliseconds. */
  maxEventLoopDelayMs?: number
  /** The most of V8's heap that may be in use, in bytes. */
  maxHeapUsedBytes?: number
  /** How often both are looked at, in milliseconds. */
  sampleIntervalMs?: number
}

const RETRY_AFTER_SECONDS = 1

const plugin: FastifyPluginAsync<OverloadOptions> = async (app, options) => {
  await app.register(underPressure, {
    // A hundred times the latency objective of 10 ms: at that delay clients have begun to give up.
    maxEventLoopDelay: options.maxEventLoopDelayMs ?? 1000,
    // Beyond it V8 spends its time collecting, and then aborts. The store stays below half of the heap.
    maxHeapUsedBytes: options.maxHeapUsedBytes ?? 0.9 * getHeapStatistics().heap_size_limit,
    sampleInterval: options.sampleIntervalMs ?? 1000,
    customError: OverloadedError,
    retryAfter: RETRY_AFTER_SECONDS,
  })
}

/** Answers 503 with `Retry-After` to the routes of its scope while the process has more to do than it can. */
export default fp(plugin, { name: 'overload' })

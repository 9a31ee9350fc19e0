import type { FastifyBaseLogger } from 'fastify'
import type { DurationHistogram } from './duration-histogram.ts'
import { recordEventLoopDelays } from './event-loop-lag.ts'

/** How often a line may be written, in milliseconds. */
const INTERVAL_MS = 1000

/**
 * Only a longer delay leads to a reset, in milliseconds, because Node.js does not record the delay
 * after a reset.
 */
const NOTABLE_DELAY_MS = 20

/**
 * Logs every response that has become an exemplar, with the longest delay of the event loop in the
 * last two seconds. Writes at most one line per second.
 *
 * @returns a function that writes the remaining responses and stops the log.
 */
export function logNotableAnswers(log: FastifyBaseLogger, durations: DurationHistogram): () => void {
  const delays = recordEventLoopDelays()
  let lastDelayMs = 0
  function write(): void {
    const delayMs = Math.round(delays.max / 1e6)
    if (delayMs > NOTABLE_DELAY_MS) delays.reset()
    const answers = durations.takeNotable()
    if (answers.length > 0)
      log.info({ eventLoopDelayMs: Math.max(delayMs, lastDelayMs), answers }, 'slow or failed answers')
    lastDelayMs = delayMs
  }
  const timer = setInterval(write, INTERVAL_MS).unref()
  return () => {
    clearInterval(timer)
    write()
    delays.disable()
  }
}

/** In a server: tells its parent, when asked, what is known of its memory and of its delays since it was asked last. */
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks'

/** What a server says of itself. */
export interface Report {
  /** Resident memory after garbage collection, in bytes. Until the last resort V8 keeps pages that are free. */
  residentBytes: number
  /** How long the event loop was held, in milliseconds: 99 % of the delays are below, and the longest. */
  p99DelayMs: number
  longestDelayMs: number
  /** The longest pause for garbage collection, in milliseconds. */
  longestPauseMs: number
}

const delays = monitorEventLoopDelay({ resolution: 1 })
let longestPauseMs = 0
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) longestPauseMs = Math.max(longestPauseMs, duration)
}).observe({ entryTypes: ['gc'] })

process.on('message', (flavor: 'regular' | 'last-resort') => {
  delays.disable()
  const seen = { p99DelayMs: delays.percentile(99) / 1e6, longestDelayMs: delays.max / 1e6, longestPauseMs }
  for (let i = 0; i < 3; i++) globalThis.gc?.({ type: 'major', flavor })
  const report: Report = { residentBytes: process.memoryUsage.rss(), ...seen }
  longestPauseMs = 0
  delays.reset()
  delays.enable()
  process.send?.(report)
})

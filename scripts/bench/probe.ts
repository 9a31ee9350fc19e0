/** Runs in a server. Reports the event loop and the memory to the parent process on request. */
import { monitorEventLoopDelay, PerformanceObserver, performance } from 'node:perf_hooks'

/** The requests and their answers. */
export interface Answers {
  /** How long the event loop has been busy since its start, in milliseconds. */
  readonly active: number
  /** A report after a garbage collection. */
  readonly collected: Report
  /** A report after a garbage collection that leaves V8 no free page. */
  readonly 'collected to the last': Report
}

/** The memory, and the delays since the last report. */
export interface Report {
  /** Resident memory, in bytes. */
  residentBytes: number
  /** The p99 and the longest event loop delay, in milliseconds. */
  p99DelayMs: number
  longestDelayMs: number
  /** The longest pause for garbage collection, in milliseconds. */
  longestPauseMs: number
}

const delays = monitorEventLoopDelay({ resolution: 1 })
let longestPauseMs = 0
/**
 * When the last report ended, in milliseconds. Entries come late, and those of the report's own
 * collections must not count.
 */
let reportedMs = 0
new PerformanceObserver((list) => {
  for (const { startTime, duration } of list.getEntries())
    if (startTime > reportedMs) longestPauseMs = Math.max(longestPauseMs, duration)
}).observe({ entryTypes: ['gc'] })

function report(flavor: 'regular' | 'last-resort'): Report {
  delays.disable()
  const seen = { p99DelayMs: delays.percentile(99) / 1e6, longestDelayMs: delays.max / 1e6, longestPauseMs }
  for (let i = 0; i < 3; i++) globalThis.gc?.({ type: 'major', flavor })
  const report: Report = { residentBytes: process.memoryUsage.rss(), ...seen }
  longestPauseMs = 0
  reportedMs = performance.now()
  delays.reset()
  delays.enable()
  return report
}

const answers: { [Q in keyof Answers]: () => Answers[Q] } = {
  active: () => performance.eventLoopUtilization().active,
  collected: () => report('regular'),
  'collected to the last': () => report('last-resort'),
}

process.on('message', (question: keyof Answers) => process.send?.(answers[question]()))

/** In a server: tells its parent, when asked, what its event loop has done, and what is known of its memory. */
import { monitorEventLoopDelay, PerformanceObserver, performance } from 'node:perf_hooks'

/** What can be asked, and what the answer is. */
export interface Answers {
  /** For so long the event loop has been busy, in milliseconds, since it began. */
  readonly active: number
  /** A report after a garbage collection. */
  readonly collected: Report
  /** A report after one that leaves V8 no page that is free. */
  readonly 'collected to the last': Report
}

/** Of the memory, and of the delays since the last report. */
export interface Report {
  /** Resident memory, in bytes. */
  residentBytes: number
  /** How long the event loop was held, in milliseconds: 99 % of the delays are below, and the longest. */
  p99DelayMs: number
  longestDelayMs: number
  /** The longest pause for garbage collection, in milliseconds. */
  longestPauseMs: number
}

const delays = monitorEventLoopDelay({ resolution: 1 })
let longestPauseMs = 0
/** When the last report ended, in milliseconds: entries come late, and those of its own collections are nobody's. */
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

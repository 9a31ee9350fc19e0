import t from 'tap'
import { outputOf } from '../process.ts'

/** The delays of the event loop in each, in milliseconds. */
const LIMITS_MS = { listing: 10, sweep: 20 }

/** What else the machine does only adds to a delay: the best of so many runs counts. */
const RUNS = 3

for (const [name, limitMs] of Object.entries(LIMITS_MS)) {
  t.test(`the ${name} of a million objects holds the event loop for less than ${limitMs} ms`, async (t) => {
    let best = Number.POSITIVE_INFINITY
    for (let run = 0; run < RUNS && best >= limitMs; run++) {
      const measuring = [process.execPath, '--expose-gc', 'scripts/bench/measure.ts', name]
      const { longestDelayMs, p99DelayMs } = JSON.parse(await outputOf(measuring))
      t.comment(`99 % below ${p99DelayMs} ms, longest ${longestDelayMs} ms`)
      best = Math.min(best, p99DelayMs)
    }
    t.ok(best < limitMs, `99 % below ${best} ms`)
  })
}

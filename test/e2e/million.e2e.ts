import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'

/** The delays of the event loop in each, in milliseconds. */
const LIMITS_MS = { listing: 10, sweep: 20 }

/** What else the machine does only adds to a delay: the best of so many runs counts. */
const RUNS = 3

for (const [name, limitMs] of Object.entries(LIMITS_MS)) {
  t.test(`the ${name} of a million objects holds the event loop for less than ${limitMs} ms`, async (t) => {
    let best = Number.POSITIVE_INFINITY
    for (let run = 0; run < RUNS && best >= limitMs; run++) {
      const args = ['--expose-gc', 'test/store/measure.ts', name]
      const { stdout } = await promisify(execFile)(process.execPath, args, {
        env: { PATH: process.env.PATH },
      })
      const { longestDelayMs, p99DelayMs } = JSON.parse(stdout)
      t.comment(`99 % below ${p99DelayMs} ms, longest ${longestDelayMs} ms`)
      best = Math.min(best, p99DelayMs)
    }
    t.ok(best < limitMs, `99 % below ${best} ms`)
  })
}

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'

/** The longest delay of the event loop in each, in milliseconds. */
const LIMITS_MS = { listing: 10, sweep: 20 }

/** What a machine does besides only adds to a delay: the shortest of a few counts. */
const ATTEMPTS = 4

for (const [name, limitMs] of Object.entries(LIMITS_MS)) {
  t.test(`the ${name} of a million objects holds nobody up for ${limitMs} ms`, async (t) => {
    const delays: number[] = []
    do {
      const args = ['--expose-gc', 'test/store/measure.ts', name]
      const { stdout } = await promisify(execFile)(process.execPath, args, {
        env: { PATH: process.env.PATH },
      })
      delays.push(JSON.parse(stdout).longestDelayMs)
    } while (Math.min(...delays) >= limitMs && delays.length < ATTEMPTS)
    t.comment(`longest delay: ${delays} ms`)
    t.ok(Math.min(...delays) < limitMs, `${delays} ms`)
  })
}

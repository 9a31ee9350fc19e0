import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { build, listen, until } from '../helper.ts'
import { lacking, outputOf, run, runSync, start, stop } from '../process.ts'

const SCRIPT = 'scripts/generate_traffic.sh'

const missing = lacking('curl')
const skip = missing && `skipped: ${missing}`

/**
 * Starts a service, and returns the script's environment, and a count of the requests that are not
 * probes.
 */
async function serve(t: Test, settings: NodeJS.ProcessEnv = {}) {
  const app = build(t, settings)
  const counter = { requests: 0 }
  app.server.on('request', ({ url }) => {
    if (url !== '/readyz') counter.requests++
  })
  return { env: { BASE_URL: `http://127.0.0.1:${await listen(app)}` }, counter }
}

/** The number of responses that the script has counted. */
const total = (stdout: string) =>
  [...stdout.matchAll(/^\d{3}: (\d+)$/gm)].reduce((sum, [, count]) => sum + Number(count), 0)

t.test('every request is answered and counted, and the 4xx are explained', { skip }, async (t) => {
  const { env, counter } = await serve(t)
  const stdout = await outputOf([SCRIPT], { env: { ...env, DURATION: '1', RATE: '300' } })
  t.equal(total(stdout), 300)
  t.equal(counter.requests, 300)
  t.match(stdout, /^200: /m)
  t.match(stdout, /^404: /m)
  t.match(stdout, /requests that get 4xx on purpose/)
})

t.test('Ctrl-C shows what has been counted, ends with 130, and leaves no process', { skip }, async (t) => {
  const { env, counter } = await serve(t)
  const traffic = start([SCRIPT], { env, stdio: ['ignore', 'pipe', 'ignore'] })
  t.after(() => stop(traffic))
  // Its process group, which Ctrl-C reaches as a whole.
  const group = -(traffic.pid as number)
  const stdout = text(traffic.stdout as Readable)
  const ended = once(traffic, 'exit')
  // The second hundred has begun, so that the first has been counted.
  await until(() => counter.requests > 100)
  process.kill(group, 'SIGINT')
  t.strictSame(await ended, [130, null])
  t.ok(total(await stdout) >= 100)
  await until(() => runSync('kill', '-0', '--', `${group}`).status !== 0)
})

t.test('without the token that the service requires it ends at once, and says so', { skip }, async (t) => {
  const { env } = await serve(t, { AUTH_TOKENS: 'first second' })
  const { status, stdout, stderr } = await run([SCRIPT], { env: { ...env, DURATION: '3600' } })
  t.equal(status, 1)
  t.equal(total(stdout), 100)
  t.match(stderr, /^generate_traffic: 401: set AUTH_TOKEN to one of the service's AUTH_TOKENS$/m)
  t.notMatch(stdout, /on purpose/)

  const accepted = await outputOf([SCRIPT], { env: { ...env, AUTH_TOKEN: 'second', DURATION: '1' } })
  t.equal(total(accepted), 100)
  t.notMatch(accepted, /^401: /m)
})

t.test('a wrong value stops it with one line that says what is allowed', { skip }, async (t) => {
  for (const [name, allowed] of [
    ['DURATION', 'a positive number of seconds'],
    ['RATE', 'a positive integer'],
  ] as const) {
    const { status, stderr } = await run([SCRIPT], { env: { [name]: '1.5' } })
    t.equal(status, 1)
    t.equal(stderr, `generate_traffic: ${name} must be ${allowed}, not "1.5"\n`)
  }
})

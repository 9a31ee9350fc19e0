import t, { type Test } from 'tap'
import { Answers, TimeLimitError } from '../../../src/store/redis/answers.ts'
import { within } from '../../limits.ts'

/** Keeps the process alive during a test, because the timers of time limits do not. */
function stayAlive(t: Test): void {
  const alive = setInterval(() => {}, 1000)
  t.after(() => clearInterval(alive))
}

t.test('what comes in time comes, what fails fails, and what does not come is given up', async (t) => {
  stayAlive(t)
  const late = Promise.withResolvers<string>()
  const begun = performance.now()
  const given = new Answers().within(100, late.promise)
  const answers = new Answers()
  t.equal(await answers.within(100, Promise.resolve('in time')), 'in time')
  await t.rejects(answers.within(100, Promise.reject(new Error('broken'))), { message: 'broken' })
  const longer = answers.within(3_600_000, late.promise)
  await within(t, 500, 'a limit of 100 ms', () => t.rejects(given, new TimeLimitError('no answer in time')))
  t.ok(performance.now() - begun >= 100)
  late.resolve('late')
  t.equal(await longer, 'late')
})

t.test('the time begins anew with each answer of the same connection', async (t) => {
  stayAlive(t)
  const never = new Promise<never>(() => {})
  const answers = new Answers()
  await answers.within(100, Promise.resolve())
  t.ok(answers.heardAt > 0)
  answers.heardAt = performance.now() + 100
  let isOver = false
  const ofConnection = answers.within(1, never).catch(() => {
    isOver = true
  })
  await t.rejects(new Answers().within(50, never), TimeLimitError)
  t.equal(isOver, false, 'it is heard all the time')
  await ofConnection
})

t.test('an answer that arrives while the process is paused beyond its time counts', async (t) => {
  stayAlive(t)
  await new Promise(setImmediate)
  const answer = Promise.withResolvers<string>()
  const given = new Answers().within(1, answer.promise)
  const pausedUntil = performance.now() + 5
  while (performance.now() < pausedUntil);
  // The timer fires before this, and the answer is read before the time is compared.
  setImmediate(answer.resolve, 'read')
  t.equal(await given, 'read')
  await new Promise(setImmediate)
})

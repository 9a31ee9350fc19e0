import t from 'tap'
import { Deadlines, TimeLimitError } from '../../../src/store/redis/deadlines.ts'
import { within } from '../../limits.ts'

t.test('what comes in time comes, what fails fails, and what does not come is given up', async (t) => {
  const deadlines = new Deadlines()
  // Its timer keeps no process alive.
  const alive = setInterval(() => {}, 1000)
  t.after(() => {
    deadlines.close()
    clearInterval(alive)
  })
  const late = Promise.withResolvers<string>()
  const begun = performance.now()
  const given = deadlines.limit(late.promise, 100)
  t.equal(await deadlines.limit(Promise.resolve('in time'), 100), 'in time')
  await t.rejects(deadlines.limit(Promise.reject(new Error('broken')), 100), { message: 'broken' })
  const longer = deadlines.limit(late.promise, 3_600_000)
  await within(t, 500, 'a limit of 100 ms', () => t.rejects(given, new TimeLimitError('no answer in time')))
  t.ok(performance.now() - begun >= 100)
  late.resolve('late')
  t.equal(await longer, 'late')
})

t.test('the time begins anew with each answer of the same connection', async (t) => {
  const deadlines = new Deadlines()
  const alive = setInterval(() => {}, 1000)
  t.after(() => {
    deadlines.close()
    clearInterval(alive)
  })
  const never = new Promise<never>(() => {})
  const progress = { heardAt: 0 }
  await deadlines.limit(Promise.resolve(), 100, progress)
  t.ok(progress.heardAt > 0)
  progress.heardAt = Number.POSITIVE_INFINITY
  let isOver = false
  const ofConnection = deadlines.limit(never, 1, progress).catch(() => {
    isOver = true
  })
  await t.rejects(deadlines.limit(never, 100), TimeLimitError)
  t.equal(isOver, false, 'it is heard all the time')
  progress.heardAt = 0
  await ofConnection
})

import t from 'tap'
import { Deadlines, TimeLimitError } from '../../src/store/deadlines.ts'

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
  const longer = deadlines.limit(late.promise, 10_000)
  await t.rejects(given, new TimeLimitError('no answer in time'))
  const tookMs = performance.now() - begun
  t.ok(tookMs >= 100 && tookMs < 500, `${tookMs} ms`)
  late.resolve('late')
  t.equal(await longer, 'late')
})

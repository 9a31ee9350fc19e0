import { mock } from 'node:test'
import t, { type Test } from 'tap'
import { overloaded } from '../../../src/http/errors.ts'
import { Gate } from '../../../src/store/redis/gate.ts'

/** Lets a test move the time of `setTimeout` forward. */
function stopTimers(t: Test) {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.after(() => mock.timers.reset())
  return mock.timers
}

t.test('room is given in the order of arrival', async (t) => {
  const gate = new Gate(10, () => {})
  t.equal(gate.enter(6), undefined)
  const order: string[] = []
  const large = gate.enter(8)?.then(() => order.push('large'))
  const small = gate.enter(1)?.then(() => order.push('small'))
  t.equal(gate.tryEnter(4), true, 'a caller that does not wait does not queue')
  gate.leave(4)
  gate.leave(6)
  await Promise.all([large, small])
  t.strictSame(order, ['large', 'small'])
  t.equal(gate.tryEnter(2), false)
})

t.test(
  'after 4 s without room a transfer is refused with 503 and counted, a patient one is not',
  async (t) => {
    const timers = stopTimers(t)
    let refused = 0
    const gate = new Gate(10, () => refused++)
    gate.tryEnter(10)
    const patient = gate.enter(5, true)
    const other = gate.enter(5) as Promise<void>
    timers.tick(3999)
    t.equal(refused, 0)
    timers.tick(1)
    await t.rejects(other, overloaded)
    t.equal(refused, 1)
    gate.leave(10)
    await patient
  },
)

t.test('a transfer for which there can never be room is refused at once', async (t) => {
  const gate = new Gate(10, () => {}, 2)
  await t.rejects(gate.enter(9) as Promise<void>, overloaded)
})

t.test('some of the room is for small objects', async (t) => {
  const gate = new Gate(10, () => {}, 2)
  t.equal(gate.tryEnter(9), false)
  t.equal(gate.tryEnter(8), true)
  t.equal(gate.tryEnter(2, true), true)
  t.equal(gate.tryEnter(1, true), false)
  t.equal(gate.tryEnter(0), true)
})

t.test('when the server does not answer, everything that waits fails', async (t) => {
  const gate = new Gate(10, () => {})
  gate.tryEnter(10)
  const waiting = [gate.enter(1), gate.enter(1, true)] as Promise<void>[]
  gate.fail(new Error('silent'))
  for (const each of waiting) await t.rejects(each, { message: 'silent' })
  gate.leave(10)
  t.equal(gate.enter(10), undefined)
})

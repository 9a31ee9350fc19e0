import { Socket } from 'node:net'
import { mock } from 'node:test'
import type { FastifyBaseLogger } from 'fastify'
import t from 'tap'
import { RefusalLog } from '../../src/http/refusal-log.ts'

const MINUTE_MS = 60_000

function sender(address: string): Socket {
  return Object.defineProperty(new Socket(), 'remoteAddress', { value: address })
}

t.beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }))
t.afterEach(() => mock.timers.reset())

function log() {
  const lines: [string, object][] = []
  const warn = (fields: object, message: string) => lines.push([message, fields])
  return { lines, log: new RefusalLog({ warn } as unknown as FastifyBaseLogger) }
}

t.test(
  'of each refusal the first is logged at once, and then a line per minute with the last sender',
  async (t) => {
    const { lines, log: refusals } = log()
    refusals.note('full', sender('1.1.1.1'), { statusCode: 507 })
    refusals.note('malformed', sender('2.2.2.2'), {})
    const first = [
      ['full', { statusCode: 507, address: '1.1.1.1', count: 1 }],
      ['malformed', { address: '2.2.2.2', count: 1 }],
    ]
    t.strictSame(lines, first)

    for (let i = 0; i < 10_000; i++) refusals.note('full', sender(`3.3.3.${i % 10}`), { statusCode: 507, i })
    mock.timers.tick(MINUTE_MS - 1)
    t.strictSame(lines, first)
    mock.timers.tick(1)
    const second = ['full', { statusCode: 507, i: 9999, address: '3.3.3.9', count: 10_000 }]
    t.strictSame(lines, [...first, second])

    refusals.note('full', sender('4.4.4.4'), {})
    mock.timers.tick(MINUTE_MS)
    t.strictSame(lines.at(-1), ['full', { address: '4.4.4.4', count: 1 }])

    mock.timers.tick(2 * MINUTE_MS)
    t.equal(lines.length, 4, 'nothing where nothing was refused')
    refusals.note('full', sender('5.5.5.5'), {})
    t.strictSame(lines.at(-1), ['full', { address: '5.5.5.5', count: 1 }], 'at once again')
  },
)

t.test('what the last minute has not logged is logged at the end', async (t) => {
  const { lines, log: refusals } = log()
  for (const address of ['1.1.1.1', '2.2.2.2']) refusals.note('full', sender(address), {})
  refusals.note('malformed', sender('1.1.1.1'), {})
  refusals.close()
  t.strictSame(lines.slice(2), [['full', { address: '2.2.2.2', count: 1 }]])
  mock.timers.tick(MINUTE_MS)
  t.equal(lines.length, 3)
})

import t from 'tap'
import { build } from '../helper.ts'

const traceId = '0af7651916cd43dd8448eb211c80319c'
const traceparent = `00-${traceId}-b7ad6b7169203331-01`
const LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const

t.test('a line of any level has the id and the trace of its request', async (t) => {
  const lines: Record<string, unknown>[] = []
  const app = build(t, { LOG_LEVEL: 'trace' }, lines)
  app.get('/lines', async ({ log }) => {
    for (const level of LEVELS) log[level]({ a: 1 }, 'a line')
    log.silent('no line')
    log.child({ part: 'child' }).info('a line')
    return log.level
  })
  const { headers, body } = await app.inject({ url: '/lines', headers: { traceparent } })
  t.equal(body, 'trace')
  t.match(
    lines.filter(({ msg }) => `${msg}`.endsWith(' line')),
    [
      ...LEVELS.map((level) => ({ level, a: 1, reqId: headers['x-request-id'], traceId })),
      { level: 'info', part: 'child', reqId: headers['x-request-id'], traceId },
    ],
  )
})

t.test('a route may have its own level and serializers', async (t) => {
  const lines: Record<string, unknown>[] = []
  const app = build(t, { LOG_LEVEL: 'error' }, lines)
  app.get('/quiet', { logLevel: 'error' }, async ({ log }) => {
    log.warn('quiet')
    log.error('loud')
  })
  app.get('/verbose', { logLevel: 'debug' }, async ({ log }) => log.debug('a line'))
  const logSerializers = { secret: () => '***' }
  app.get('/secret', { logSerializers }, async ({ log }) => log.error({ secret: 'abc' }))
  await app.inject('/quiet')
  t.match(lines, [{ msg: 'loud', reqId: String }])
  lines.length = 0
  await app.inject('/verbose')
  t.match(lines, [{ msg: 'request' }, { msg: 'a line' }, { msg: 'response' }])
  lines.length = 0
  await app.inject('/secret')
  t.match(lines, [{ secret: '***', reqId: String }])
})

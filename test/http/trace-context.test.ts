import t from 'tap'
import { traceContext } from '../../src/http/trace-context.ts'
import { build } from '../helper.ts'

const traceId = '0af7651916cd43dd8448eb211c80319c'
const spanId = 'b7ad6b7169203331'
const traceparent = `00-${traceId}-${spanId}-01`

const INVALID = [
  '',
  traceId,
  `00-${traceId}-${spanId}`,
  `00-${traceId}-${spanId}-01-`,
  `00-${traceId}-${spanId}-1`,
  `00-${traceId.toUpperCase()}-${spanId}-01`,
  `00-${'0'.repeat(32)}-${spanId}-01`,
  `00-${traceId}-${'0'.repeat(16)}-01`,
  `00-${traceId}0-${spanId}-01`,
  `00-g${traceId.slice(1)}-${spanId}-01`,
  `01-${traceId}-${spanId}-01`,
  `ff-${traceId}-${spanId}-01`,
  `${traceparent}, ${traceparent}`,
]

t.test('a traceparent of version 00 tells the trace and the span of the client', async (t) => {
  t.strictSame(traceContext({ traceparent }), { traceId, spanId })
  t.strictSame(traceContext({ traceparent: traceparent.replace(/01$/, '00') }), { traceId, spanId })
})

t.test('an invalid traceparent is ignored', async (t) => {
  t.equal(traceContext({}), undefined)
  for (const invalid of INVALID) t.equal(traceContext({ traceparent: invalid }), undefined, invalid)
})

t.test('each line of a request has its trace context, and the response has no header of it', async (t) => {
  const lines: Record<string, unknown>[] = []
  const app = build(t, { LOG_LEVEL: 'debug', FAULTS: '*=500@1' }, lines)
  const { headers } = await app.inject({ method: 'PUT', url: '/api/buckets/a', headers: { traceparent } })
  const ofRequest = () => lines.filter(({ reqId }) => reqId === headers['x-request-id'])
  t.strictSame(
    ofRequest().map(({ msg }) => msg),
    ['request', 'request failed', 'response'],
  )
  for (const line of ofRequest()) t.match(line, { traceId, spanId }, `${line.msg}`)
  t.strictSame(
    Object.keys(headers).filter((name) => name.startsWith('trace')),
    [],
  )

  lines.length = 0
  await app.inject({ method: 'PUT', url: '/api/buckets/a', headers: { traceparent: 'nonsense' } })
  t.ok(lines.length > 0)
  for (const line of lines) t.notMatch(line, { traceId: String }, `${line.msg}`)
})

t.test('the line of a refusal has the trace context of the last request', async (t) => {
  const lines: Record<string, unknown>[] = []
  const app = build(t, { LOG_LEVEL: 'warn', MAX_STORE_BYTES: '1' }, lines)
  const { statusCode } = await app.inject({
    method: 'PUT',
    url: '/api/buckets/a',
    headers: { traceparent },
    payload: 'x',
  })
  t.equal(statusCode, 507)
  t.match(lines, [{ reqId: String, traceId, spanId, statusCode: 507 }])
})

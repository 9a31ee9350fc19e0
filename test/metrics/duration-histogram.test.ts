import t from 'tap'
import { BUCKETS_SECONDS, DurationHistogram, SLOW_SECONDS } from '../../src/metrics/duration-histogram.ts'
import { stopClock } from '../helper.ts'

const traceId = '0af7651916cd43dd8448eb211c80319c'
const spanId = 'b7ad6b7169203331'
const traceparent = `00-${traceId}-${spanId}-01`

/** A request without a trace and without a failure. */
const PLAIN = { headers: {}, failure: undefined }

/** The exemplars of the buckets that have one, by their bounds. */
async function exemplars(durations: DurationHistogram) {
  const { values } = await durations.get()
  return Object.fromEntries(
    values.flatMap((sample) =>
      'exemplar' in sample && sample.exemplar ? [[sample.labels.le, sample.exemplar]] : [],
    ),
  )
}

t.test('the objective is the bound of a bucket', async (t) => {
  t.ok(BUCKETS_SECONDS.includes(SLOW_SECONDS))
})

t.test('each bucket above the objective has its last observation as its exemplar', async (t) => {
  const clock = stopClock(t)
  const durations = new DurationHistogram()
  const observe = (seconds: number, id: string) =>
    durations.observe('GET', '/a', 200, seconds, { id, ...PLAIN })
  observe(0.000_01, 'fast')
  observe(SLOW_SECONDS, 'within the objective')
  t.strictSame(await exemplars(durations), {})

  const timestamp = clock.now / 1000
  observe(0.02, 'a-1')
  observe(0.03, 'a-2')
  observe(3, 'a-3')
  clock.now += 1500
  observe(0.04, 'a-4')
  t.strictSame(await exemplars(durations), {
    0.05: { labelSet: { request_id: 'a-4' }, value: 0.04, timestamp: timestamp + 1.5 },
    '+Inf': { labelSet: { request_id: 'a-3' }, value: 3, timestamp },
  })
})

t.test('a 5xx is an exemplar however fast it is', async (t) => {
  const durations = new DurationHistogram()
  durations.observe('GET', '/a', 500, 0.000_01, { id: 'a-1', ...PLAIN })
  durations.observe('GET', '/a', 500, 0.000_02, { id: 'a-2', ...PLAIN })
  durations.observe('GET', '/a', 404, 0.000_02, { id: 'a-3', ...PLAIN })
  t.match(await exemplars(durations), { 0.00005: { labelSet: { request_id: 'a-2' } } })
})

t.test('the trace of a request is in its exemplar and in its line', async (t) => {
  const durations = new DurationHistogram()
  durations.observe('GET', '/a', 500, 0, { id: 'a-1', ...PLAIN, headers: { traceparent } })
  t.match(await exemplars(durations), { 0.00005: { labelSet: { request_id: 'a-1', trace_id: traceId } } })
  t.match(durations.takeNotable(), [{ reqId: 'a-1', traceId, spanId }])
  durations.observe('GET', '/a', 500, 0, { id: 'a-2', ...PLAIN })
  t.notMatch(await exemplars(durations), { 0.00005: { labelSet: { trace_id: traceId } } }, 'and in no other')
})

t.test('an id that would exceed 128 characters is left out', async (t) => {
  const labelSet = async (length: number, headers: { traceparent?: string }) => {
    const durations = new DurationHistogram()
    durations.observe('GET', '/a', 500, 0, { id: 'x'.repeat(length), headers, failure: undefined })
    return (await exemplars(durations))[BUCKETS_SECONDS[0] as number]?.labelSet
  }
  const most = 128 - 'request_id'.length
  t.strictSame(await labelSet(most, {}), { request_id: 'x'.repeat(most) })
  t.equal(await labelSet(most + 1, {}), undefined)
  const mostWithTrace = most - 'trace_id'.length - traceId.length
  t.strictSame(await labelSet(mostWithTrace, { traceparent }), {
    request_id: 'x'.repeat(mostWithTrace),
    trace_id: traceId,
  })
  t.strictSame(await labelSet(mostWithTrace + 1, { traceparent }), { trace_id: traceId })
})

t.test('for the log there is each answer that has become an exemplar, once', async (t) => {
  const durations = new DurationHistogram()
  t.strictSame(durations.takeNotable(), [])
  durations.observe('GET', '/a', 200, 0.02, { id: 'a-1', ...PLAIN })
  durations.observe('GET', '/a', 200, 0.012_34, { id: 'a-2', ...PLAIN })
  durations.observe('PROPFIND', '/a', 503, 0.000_1, {
    id: 'x'.repeat(128),
    headers: {},
    failure: 'overloaded',
  })
  durations.observe('PUT', '/a', 201, 0.001, { id: 'a-4', ...PLAIN })
  t.strictSame(durations.takeNotable(), [
    { reqId: 'a-2', method: 'GET', path: '/a', statusCode: 200, durationMs: 12.3, cause: undefined },
    {
      reqId: 'x'.repeat(128),
      method: '_OTHER',
      path: '/a',
      statusCode: 503,
      durationMs: 0.1,
      cause: 'overloaded',
    },
  ])
  t.strictSame(durations.takeNotable(), [])
})

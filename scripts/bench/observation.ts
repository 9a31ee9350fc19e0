/** Measures the cost of an observation of the histogram and of its exemplar. */
import { DurationHistogram, SLOW_SECONDS } from '../../src/metrics/duration-histogram.ts'

const TIMES = 1e7
/** The number of series. Each has one exemplar. */
const SERIES = 10_000

const request = { id: 'ZWxlcGhhbnRz-1234567', headers: {}, failure: undefined }
const traced = {
  ...request,
  headers: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' },
}

/** The time of one observation, in nanoseconds. */
function nanoseconds(seconds: number, of = request): number {
  const durations = new DurationHistogram()
  const observe = (times: number) => {
    for (let i = 0; i < times; i++) durations.observe('GET', '/api/buckets/:id', 200, seconds, of)
  }
  observe(TIMES / 10)
  const begun = performance.now()
  observe(TIMES)
  return ((performance.now() - begun) * 1e6) / TIMES
}

/** The memory of one exemplar, in bytes. */
function bytes(of: typeof request): number {
  const durations = new DurationHistogram()
  const observe = (seconds: number) => {
    for (let i = 0; i < SERIES; i++) durations.observe('GET', `/${i}`, 200, seconds, { ...of })
  }
  const heapBytes = () => {
    globalThis.gc?.()
    return process.memoryUsage().heapUsed
  }
  observe(0)
  durations.takeNotable()
  const before = heapBytes()
  observe(2 * SLOW_SECONDS)
  durations.takeNotable()
  const after = heapBytes()
  // Keeps the histogram alive until here.
  durations.declare('GET', '/', 200)
  return (after - before) / SERIES
}

/** A table of both. It needs `node --expose-gc`. */
export function observationTable(): string {
  return [
    '| an observation | ns | bytes that stay |',
    '|---|---|---|',
    `| within the objective | ${nanoseconds(SLOW_SECONDS).toFixed(0)} | 0 |`,
    `| slow: an exemplar | ${nanoseconds(2 * SLOW_SECONDS).toFixed(0)} | ${bytes(request).toFixed(0)} |`,
    `| slow and traced | ${nanoseconds(2 * SLOW_SECONDS, traced).toFixed(0)} | ${bytes(traced).toFixed(0)} |`,
  ].join('\n')
}

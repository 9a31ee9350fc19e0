import { Counter, Gauge, Histogram, Registry, Summary } from '@prometheus-io/client'
import t from 'tap'
import { writePage } from '../../src/metrics/exposition.ts'
import { OPENMETRICS, TEXT } from '../../src/metrics/format.ts'

/** A metric of each type, with everything that needs escaping. */
function registry(): Registry {
  const registry = new Registry()
  const registers = [registry]
  new Counter({ name: 'jobs_total', help: 'Jobs', labelNames: ['state'], registers }).inc(
    { state: 'a "b"\\\nc' },
    2,
  )
  new Counter({ name: 'work_seconds_total', help: 'A "quoted" \\ help\non two lines', registers }).inc(0.5)
  new Gauge({ name: 'size_bytes', help: 'Size', registers }).set(1e21)
  new Gauge({ name: 'state', help: 'State', labelNames: ['a', 'b'], registers }).set({ a: '1', b: '2' }, -1)
  new Gauge({ name: 'silent', help: 'Never set', labelNames: ['a'], registers })
  const buckets = [0.000_05, 0.1, 1, 2.5, 10, 1e6]
  new Histogram({ name: 'wait_seconds', help: 'Wait', buckets, labelNames: ['kind'], registers }).observe(
    { kind: 'x' },
    0.75,
  )
  new Summary({ name: 'age_seconds', help: 'Age', percentiles: [0.5, 1], registers }).observe(3)
  return registry
}

async function page(registry: Registry, format: string): Promise<string> {
  return writePage(await registry.getMetricsAsJSON(), format)
}

t.test('the text format is what the client library writes', async (t) => {
  const metrics = registry()
  t.equal(await page(metrics, TEXT), await metrics.metrics())
})

t.test('OpenMetrics names families, units and bounds as its specification asks for', async (t) => {
  t.equal(
    await page(registry(), OPENMETRICS),
    String.raw`# TYPE jobs counter
# HELP jobs Jobs
jobs_total{state="a \"b\"\\\nc"} 2
# TYPE work_seconds counter
# HELP work_seconds A \"quoted\" \\ help\non two lines
# UNIT work_seconds seconds
work_seconds_total 0.5
# TYPE size_bytes gauge
# HELP size_bytes Size
# UNIT size_bytes bytes
size_bytes 1e+21
# TYPE state gauge
# HELP state State
state{a="1",b="2"} -1
# TYPE silent gauge
# HELP silent Never set
# TYPE wait_seconds histogram
# HELP wait_seconds Wait
# UNIT wait_seconds seconds
wait_seconds_bucket{le="5e-05",kind="x"} 0
wait_seconds_bucket{le="0.1",kind="x"} 0
wait_seconds_bucket{le="1.0",kind="x"} 1
wait_seconds_bucket{le="2.5",kind="x"} 1
wait_seconds_bucket{le="10.0",kind="x"} 1
wait_seconds_bucket{le="1e+06",kind="x"} 1
wait_seconds_bucket{le="+Inf",kind="x"} 1
wait_seconds_sum{kind="x"} 0.75
wait_seconds_count{kind="x"} 1
# TYPE age_seconds summary
# HELP age_seconds Age
# UNIT age_seconds seconds
age_seconds{quantile="0.5"} 3
age_seconds{quantile="1.0"} 3
age_seconds_sum 3
age_seconds_count 1
# EOF
`,
  )
})

t.test('a page without metrics is complete', async (t) => {
  t.equal(await page(new Registry(), TEXT), '')
  t.equal(await page(new Registry(), OPENMETRICS), '# EOF\n')
})

t.test('values that are not finite are written as both formats ask for', async (t) => {
  const family = { name: 'a', help: 'A', type: 'gauge' }
  const values = [Number.NaN, Infinity, -Infinity].map((value) => ({ value }))
  for (const format of [TEXT, OPENMETRICS])
    t.match(writePage([{ ...family, values }], format), '\na NaN\na +Inf\na -Inf\n')
})

t.test('a counter without _total has it in OpenMetrics', async (t) => {
  const families = [{ name: 'jobs', help: 'Jobs', type: 'counter', values: [{ value: 1 }] }]
  t.match(writePage(families, OPENMETRICS), '# TYPE jobs counter\n# HELP jobs Jobs\njobs_total 1\n')
  t.match(writePage(families, TEXT), '\njobs 1\n')
})

t.test('an exemplar is in OpenMetrics alone', async (t) => {
  const exemplar = { labelSet: { request_id: 'a-1', trace_id: 'b' }, value: 0.25, timestamp: 1700000000.5 }
  const values = [{ metricName: 'a_bucket', labels: { le: '+Inf' }, value: 1, exemplar }]
  const families = [{ name: 'a', help: 'A', type: 'histogram', values }]
  t.match(
    writePage(families, OPENMETRICS),
    '\na_bucket{le="+Inf"} 1 # {request_id="a-1",trace_id="b"} 0.25 1700000000.5\n',
  )
  t.match(writePage(families, TEXT), '\na_bucket{le="+Inf"} 1\n')
})

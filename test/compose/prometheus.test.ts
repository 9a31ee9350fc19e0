import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { build, scrape } from '../helper.ts'
import { lacking, run } from '../process.ts'

const DIRECTORY = 'compose/prometheus'
const RULE_FILES = ['rules.yml', 'alerts.yml'].map((file) => join(process.cwd(), DIRECTORY, file))

interface Rule {
  record?: string
  alert?: string
  expr: string
  labels: Record<string, string>
  annotations: Record<string, string>
}
const rules: Rule[] = RULE_FILES.flatMap((file) =>
  parse(readFileSync(file, 'utf8')).groups.flatMap((group: { rules: Rule[] }) => group.rules),
)
const alerts = rules.filter(({ alert }) => alert !== undefined)

/**
 * The series of a test, in promtool's notation: `0+5x60` begins at 0 and grows by 5 in each of 60
 * minutes.
 */
type Series = Record<string, string>

interface Case {
  name: string
  series: Series
  /** The time at which the alerts are checked, in minutes. */
  minute: number
  /** All alerts that fire at that time: their names, and the long window if an alert has one. */
  firing: string[]
  /** The description of the first of them. */
  description?: string
}

const JOB = 'job="storage_api",instance="a:5000"'
const FOREVER = 400

/** A counter that grows by `perMinute` from the start. */
const counter = (perMinute: number, minutes = FOREVER) => `0+${perMinute}x${minutes}`

/** The responses of one route: their number per minute, and how many of them are 5xx or slow. */
function answers(perMinute: number, { failed = 0, slow = 0, minutes = FOREVER } = {}): Series {
  const labels = `${JOB},method="GET",path="/api/buckets/:id"`
  const name = 'http_request_duration_seconds'
  return {
    [`${name}_count{${labels},status_code="200"}`]: counter(perMinute - failed, minutes),
    [`${name}_count{${labels},status_code="500"}`]: counter(failed, minutes),
    [`${name}_bucket{${labels},status_code="200",le="0.01"}`]: counter(perMinute - failed - slow, minutes),
    [`${name}_bucket{${labels},status_code="500",le="0.01"}`]: counter(failed, minutes),
  }
}

/**
 * Operations of an engine per minute: how many take at most a tenth of a second, and how many at
 * most a second.
 */
function engineDurations(tenth: number, second: number): Series {
  const name = `storage_engine_duration_seconds_bucket{${JOB},operation="get"`
  return {
    [`${name},le="0.1"}`]: counter(tenth),
    [`${name},le="1.0"}`]: counter(second),
    [`${name},le="+Inf"}`]: counter(second),
  }
}

/** A healthy and idle service. */
const IDLE: Series = {
  ...answers(0),
  [`up{${JOB}}`]: `1x${FOREVER}`,
  [`process_start_time_seconds{${JOB}}`]: `1000x${FOREVER}`,
  [`storage_api_build_info{${JOB},version="1"}`]: `1x${FOREVER}`,
  [`nodejs_eventloop_lag_p99_seconds{${JOB}}`]: `0.011x${FOREVER}`,
  [`storage_bytes{${JOB}}`]: `0x${FOREVER}`,
  [`storage_bytes_limit{${JOB}}`]: `1000x${FOREVER}`,
  [`storage_operations_total{${JOB},operation="put",outcome="full"}`]: `0x${FOREVER}`,
  [`storage_engine_up{${JOB}}`]: `1x${FOREVER}`,
  [`http_requests_rejected_total{${JOB},reason="malformed"}`]: `0x${FOREVER}`,
  [`http_connections_closed_total{${JOB},reason="limit"}`]: `0x${FOREVER}`,
}

/**
 * The minute at which each burn-rate alert fires: after its `for`, and before the `for` of the next
 * one.
 */
const BURN_RATES = [
  { factor: 14.4, long: '1h', minute: 10 },
  { factor: 6, long: '6h', minute: 30 },
  { factor: 3, long: '1d', minute: 90 },
  { factor: 1, long: '3d', minute: 240 },
]
const PER_MINUTE = 1e6
const BUDGETS = [
  { alert: 'StorageApiErrorBudgetBurn', budget: 0.001, kind: 'failed' },
  { alert: 'StorageApiLatencyBudgetBurn', budget: 0.01, kind: 'slow' },
]
const burnRateCases = BUDGETS.flatMap(({ alert, budget, kind }) =>
  BURN_RATES.flatMap(({ factor, long, minute }): Case[] =>
    [1.1, 0.9].map((share) => ({
      name: `${alert} over ${long}, at ${share} of its threshold`,
      series: {
        ...IDLE,
        ...answers(PER_MINUTE, { [kind]: Math.round(PER_MINUTE * factor * budget * share) }),
      },
      minute,
      firing: share > 1 ? [`${alert} ${long}`] : [],
    })),
  ),
)

const cases: Case[] = [
  { name: 'an idle service', series: IDLE, minute: 300, firing: [] },
  { name: 'a busy service that is well', series: { ...IDLE, ...answers(6000) }, minute: 300, firing: [] },
  ...burnRateCases,
  {
    name: 'half of all requests fail',
    series: { ...IDLE, ...answers(100, { failed: 50 }) },
    minute: 5,
    firing: ['StorageApiErrorBudgetBurn 1h'],
    description:
      '50% of the responses under /api in the last 1h were 5xx. That is more than 14.4 times what the objective allows. The same is true for the last 5m.',
  },
  {
    name: 'half of all requests are slow',
    series: { ...IDLE, ...answers(100, { slow: 50 }) },
    minute: 5,
    firing: ['StorageApiLatencyBudgetBurn 1h'],
    description:
      '50% of the responses under /api in the last 1h took longer than 10 ms. That is more than 14.4 times what the objective allows. The same is true for the last 5m.',
  },
  {
    name: 'nine requests in all, and every one failed',
    series: { ...IDLE, ...answers(1, { failed: 1, minutes: 9 }) },
    minute: 8,
    firing: [],
  },
  {
    name: 'nine requests in all, and every one was slow',
    series: { ...IDLE, ...answers(1, { slow: 1, minutes: 9 }) },
    minute: 8,
    firing: [],
  },
  {
    name: 'half of all requests failed in ten minutes that are over for ten',
    series: { ...IDLE, ...answers(100, { failed: 50, minutes: 10 }) },
    minute: 20,
    firing: ['StorageApiErrorBudgetBurn 6h'],
  },
  {
    name: 'half of all requests failed in ten minutes that are over for forty',
    series: { ...IDLE, ...answers(100, { failed: 50, minutes: 10 }) },
    minute: 50,
    firing: [],
  },
  {
    name: 'the target is down',
    series: { ...IDLE, [`up{${JOB}}`]: `1x10 0x${FOREVER}` },
    minute: 13,
    firing: ['StorageApiDown'],
    description: 'Prometheus has not been able to scrape a:5000 for a minute.',
  },
  {
    name: 'the target missed a scrape',
    series: { ...IDLE, [`up{${JOB}}`]: '1x10 0 1x10' },
    minute: 12,
    firing: [],
  },
  {
    name: 'there is no target',
    series: { 'up{job="other"}': `1x${FOREVER}` },
    minute: 5,
    firing: ['StorageApiDown'],
    description: 'Prometheus has had no instance to scrape for a minute.',
  },
  {
    name: 'a restart in the same version',
    series: { ...IDLE, [`process_start_time_seconds{${JOB}}`]: `1000x10 2000x${FOREVER}` },
    minute: 15,
    firing: ['StorageApiRestarted'],
    description:
      'a:5000 has restarted 1 times in the last 15 minutes in the same version. The objects that it held in memory are lost.',
  },
  {
    name: 'a restart half an hour ago',
    series: { ...IDLE, [`process_start_time_seconds{${JOB}}`]: `1000x10 2000x${FOREVER}` },
    minute: 40,
    firing: [],
  },
  {
    name: 'a deployment of another version',
    series: {
      ...IDLE,
      [`process_start_time_seconds{${JOB}}`]: `1000x10 2000x${FOREVER}`,
      [`storage_api_build_info{${JOB},version="1"}`]: '1x10',
      [`storage_api_build_info{${JOB},version="2"}`]: `_x11 1x${FOREVER}`,
    },
    minute: 15,
    firing: [],
  },
  {
    name: 'an event loop that is late',
    series: { ...IDLE, [`nodejs_eventloop_lag_p99_seconds{${JOB}}`]: `0.11x${FOREVER}` },
    minute: 10,
    firing: ['StorageApiEventLoopLag'],
    description:
      'The p99 event loop delay of a:5000 has averaged 110ms in the last 5 minutes. Some requests wait at least that long.',
  },
  {
    name: 'an event loop that is late below the threshold',
    series: { ...IDLE, [`nodejs_eventloop_lag_p99_seconds{${JOB}}`]: `0.09x${FOREVER}` },
    minute: 10,
    firing: [],
  },
  {
    name: 'a store of which 91 % are in use',
    series: { ...IDLE, [`storage_bytes{${JOB}}`]: `910x${FOREVER}` },
    minute: 10,
    firing: ['StorageApiStoreNearlyFull'],
    description: 'The store of a:5000 is 91% full. When it is full, PUTs of new objects get 507.',
  },
  {
    name: 'a store of which 89 % are in use',
    series: { ...IDLE, [`storage_bytes{${JOB}}`]: `890x${FOREVER}` },
    minute: 10,
    firing: [],
  },
  {
    name: 'a store that refuses two objects a minute',
    series: { ...IDLE, [`storage_operations_total{${JOB},operation="put",outcome="full"}`]: counter(2) },
    minute: 10,
    firing: ['StorageApiStoreFull'],
    description: 'a:5000 has rejected 10 PUTs with 507 in the last 5 minutes.',
  },
  {
    name: 'a store that has refused one object',
    series: {
      ...IDLE,
      [`storage_operations_total{${JOB},operation="put",outcome="full"}`]: `0x5 1x${FOREVER}`,
    },
    minute: 8,
    firing: [],
  },
  {
    name: 'a scanner: a fifth of what comes is refused',
    series: {
      ...IDLE,
      ...answers(80),
      [`http_requests_rejected_total{${JOB},reason="malformed"}`]: counter(20),
    },
    minute: 20,
    firing: ['StorageApiRequestsRejected'],
    description:
      'a:5000 has rejected 20% of the requests of the last 10 minutes before routing, because they were not valid HTTP/1.1 or too slow.',
  },
  {
    name: 'one request in twenty is refused',
    series: {
      ...IDLE,
      ...answers(95),
      [`http_requests_rejected_total{${JOB},reason="malformed"}`]: counter(5),
    },
    minute: 20,
    firing: [],
  },
  {
    name: 'two odd requests a minute, on an idle service',
    series: { ...IDLE, [`http_requests_rejected_total{${JOB},reason="malformed"}`]: counter(2) },
    minute: 20,
    firing: [],
  },
  {
    name: 'four connections a minute closed at the limit',
    series: { ...IDLE, [`http_connections_closed_total{${JOB},reason="limit"}`]: counter(4) },
    minute: 10,
    firing: ['StorageApiConnectionLimit'],
    description:
      'a:5000 has closed 20 connections in the last 5 minutes because MAX_CONNECTIONS or another limit was reached.',
  },
  {
    name: 'one connection a minute closed at the limit',
    series: { ...IDLE, [`http_connections_closed_total{${JOB},reason="limit"}`]: counter(1) },
    minute: 10,
    firing: [],
  },
  {
    name: 'a hundred idle connections a minute closed',
    series: { ...IDLE, [`http_connections_closed_total{${JOB},reason="idle"}`]: counter(100) },
    minute: 10,
    firing: [],
  },
  {
    name: 'an engine of which 2 % of the operations take a tenth of a second to a second',
    series: { ...IDLE, ...engineDurations(98, 100) },
    minute: 20,
    firing: ['StorageApiEngineSlow'],
    description:
      'The p99 duration of the storage engine of a:5000 is 550ms. Requests that use it take longer.',
  },
  {
    name: 'an engine of which 0.5 % of the operations take that long',
    series: { ...IDLE, ...engineDurations(995, 1000) },
    minute: 20,
    firing: [],
  },
  {
    name: 'the engine is down',
    series: { ...IDLE, [`storage_engine_up{${JOB}}`]: `1x10 0x${FOREVER}` },
    minute: 13,
    firing: ['StorageApiEngineDown'],
    description: 'a:5000 has not reached its storage engine for a minute. Every request under /api gets 503.',
  },
]

/** A test for promtool: which alerts fire, and the description of the first one. */
function promtoolTest({ name, series, minute, firing, description }: Case) {
  const [first] = firing
  const [alertname, long] = first?.split(' ') ?? []
  const rule = alerts.find(({ alert, labels }) => alert === alertname && labels.long === long)
  const hasInstance = Boolean(series[`up{${JOB}}`]) && !alertname?.includes('Budget')
  return {
    name,
    interval: '1m',
    input_series: Object.entries(series).map(([series, values]) => ({ series, values })),
    promql_expr_test: [
      {
        expr: 'count by (alertname, long) (ALERTS{alertstate="firing"})',
        eval_time: `${minute}m`,
        exp_samples: firing.map((alert) => {
          const [alertname, long] = alert.split(' ')
          return { labels: `{alertname="${alertname}"${long ? `,long="${long}"` : ''}}`, value: 1 }
        }),
      },
    ],
    alert_rule_test: description && [
      {
        eval_time: `${minute}m`,
        alertname,
        exp_alerts: [
          {
            exp_labels: { ...rule?.labels, job: 'storage_api', ...(hasInstance && { instance: 'a:5000' }) },
            exp_annotations: {
              ...rule?.annotations,
              dashboard_url: rule?.annotations.dashboard_url?.replace('{{ $labels.instance }}', 'a:5000'),
              description,
            },
          },
        ],
      },
    ],
  }
}

const skip = lacking('promtool')

t.test('promtool accepts the configuration and the rules', { skip }, async (t) => {
  const check = (...args: string[]) => run(['promtool', 'check', ...args])
  const config = await check('config', join(DIRECTORY, 'prometheus.yml'))
  t.equal(config.status, 0, config.stderr)
  const rules = await check('rules', '--lint=all', '--lint-fatal', ...RULE_FILES)
  t.equal(rules.status, 0, rules.stdout + rules.stderr)
})

for (const example of cases) {
  t.test(`${example.firing.join(', ') || 'no alert'} fires: ${example.name}`, { skip }, async (t) => {
    const file = join(t.testdir(), 'test.json')
    const test = promtoolTest(example)
    writeFileSync(file, JSON.stringify({ rule_files: RULE_FILES, evaluation_interval: '1m', tests: [test] }))
    const { status, stdout, stderr } = await run(['promtool', 'test', 'rules', file])
    t.equal(status, 0, stdout + stderr)
  })
}

t.test('for each alert there is a case in which it fires', async (t) => {
  const fired = new Set(cases.flatMap(({ firing }) => firing))
  t.strictSame(
    fired,
    new Set(alerts.map(({ alert, labels }) => (labels.long ? `${alert} ${labels.long}` : alert))),
  )
})

t.test('each alert says how bad it is, what is wrong, what to do, and where to look', async (t) => {
  for (const { alert = '', labels, annotations } of alerts) {
    t.match(labels.severity, /^(page|ticket)$/, alert)
    t.match(annotations.description, /\{\{.*\$/, `${alert} has figures`)
    t.ok(annotations.summary, `${alert} has a summary`)
    t.equal(annotations.runbook_url, `docs/runbooks/${alert}.md`)
    t.ok(existsSync(annotations.runbook_url as string), `${annotations.runbook_url} exists`)
    const [, from] =
      /^http:\/\/localhost:3000\/d\/storage-api\?from=now-(\w+)&to=now(&|$)/.exec(
        annotations.dashboard_url as string,
      ) ?? []
    t.equal(from, labels.long ?? '1h', `${alert}: as far back as the alert looks`)
  }
})

t.test('each metric of the rules is on the page, is recorded, or is of Prometheus itself', async (t) => {
  // An engine over a network has more metrics than the memory engine. It need not be running.
  const pages = await Promise.all(
    ['memory:', 'redis://127.0.0.1:1'].map((url) => scrape(build(t, { STORAGE_URL: url }))),
  )
  const series = pages.flatMap((page) => Object.keys(page))
  const names = new Set(series.map((name) => name.replace(/\{.*/, '')))
  const recorded = rules.map(({ record }) => record)
  const others = ['up', ...recorded]
  for (const { expr, alert = '', record = '' } of rules) {
    for (const [name] of expr.matchAll(/[a-z_]+(?::[a-z_0-9]+)+|[a-z_][a-z_0-9]*(?=\{)/g)) {
      t.ok(names.has(name) || others.includes(name), `${alert}${record}: ${name}`)
    }
  }
})

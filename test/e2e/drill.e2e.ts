import { readFileSync } from 'node:fs'
import t from 'tap'
import { outputOf } from '../process.ts'
import { colorOf, dashboard, isOfEngine, type Panel, panels, promql } from './dashboard.ts'
import { compose, published, startStack } from './docker.ts'
import { eventually, query, queryExemplars, type Sample } from './prometheus.ts'
import { requireTool } from './require-tool.ts'

requireTool('docker', 'compose', 'version')

/**
 * The drill takes real time: two minutes of ordinary traffic, three of the drill, and the time
 * until the alert fires.
 */
t.setTimeout(900_000)

const SERVICES = ['storage_api', 'prometheus']
const PAGE = readFileSync('docs/500s.md', 'utf8')
/** Alerts that depend on the machine. The page says that they are not part of the drill. */
const OF_THE_MACHINE = 'StorageApiLatencyBudgetBurn|StorageApiEventLoopLag'

/** The PromQL blocks of a page of the documentation, in order. */
const queriesIn = (page: string) =>
  [...page.matchAll(/^```promql\n(.*?)^```/gms)].map(([, promql = '']) => promql)

/** Runs the script until all its requests have responses. Returns its output. */
async function generateTraffic(env: Record<string, string> = {}): Promise<string> {
  const BASE_URL = await published('storage_api', 5000)
  return outputOf(['scripts/generate_traffic.sh'], { env: { BASE_URL, ...env } })
}

/** Alerts of the last minute that do not depend on the machine, as `name window state`. */
async function alerts(): Promise<string[]> {
  const promql = `max_over_time(ALERTS{alertname!~"${OF_THE_MACHINE}"}[1m])`
  const samples = await query(prometheus, promql)
  return samples.map(
    ({ metric: { alertname, long = '', alertstate } }) => `${alertname} ${long} ${alertstate}`,
  )
}

const isThere = (series: unknown[]) => series.length > 0

/** The labels of the exemplars of 5xx responses. */
async function exemplars(): Promise<Record<string, string>[]> {
  const promql = 'http_request_duration_seconds_bucket{status_code=~"5.."}'
  const series = await queryExemplars(prometheus, promql)
  return series.flatMap(({ exemplars }) => exemplars.map(({ labels }) => labels))
}

/** The lines of the service's log that contain a text, found by the command of the page. */
async function logged(text: string): Promise<string[]> {
  const [, command = ''] = /^ *docker compose (logs .*) \| grep '"REQUEST_ID"'$/m.exec(PAGE) ?? []
  return (await compose(command.split(' '))).split('\n').filter((line) => line.includes(text))
}

await startStack(t, SERVICES)
const prometheus = await published('prometheus', 9090)

t.test('in ordinary traffic no alert is pending or firing', { timeout: 300_000 }, async (t) => {
  const tally = await generateTraffic({ DURATION: '120' })
  t.notMatch(tally, /^5/m, 'without a 5xx')
  const deleted = 'http_request_duration_seconds_count{method="DELETE",status_code="204"} > 0'
  t.ok(isThere(await query(prometheus, deleted)), 'with DELETEs that succeed')
  t.strictSame(await alerts(), [])
})

let drill: Promise<string>

t.test('the drill begins with its command', { timeout: 120_000 }, async () => {
  const [, FAULTS = '', up = ''] = /^FAULTS=(\S+) docker compose (up .*)$/m.exec(PAGE) ?? []
  await compose([...up.split(' '), '--wait', ...SERVICES], { FAULTS })
  drill = generateTraffic()
})

t.test('the restart fires an alert, and the faults tell that it is of the drill', async (t) => {
  const restarted = 'ALERTS{alertname="StorageApiRestarted",alertstate="firing"}'
  t.ok(isThere(await eventually(() => query(prometheus, restarted), isThere)))
  t.ok(isThere(await query(prometheus, 'storage_api_faults{job="storage_api"} > 0')))
})

t.test('each exemplar of a 500 leads to the line of its fault in the log', async (t) => {
  const found = await eventually(exemplars, isThere)
  t.ok(isThere(found))
  for (const { request_id = '' } of found) {
    const lines = await logged(`"${request_id}"`)
    t.ok(
      lines.some((line) => line.includes('fault injected: DELETE=500@1')),
      request_id,
    )
  }
})

t.test('the queries of the runbook name the cause, a minute later', { timeout: 120_000 }, async (t) => {
  const aged = 'time() - process_start_time_seconds{job="storage_api"} > 75'
  await eventually(() => query(prometheus, aged), isThere, 90)
  const [which = '', became = ''] = queriesIn(
    readFileSync('docs/runbooks/StorageApiErrorBudgetBurn.md', 'utf8'),
  )
  t.strictSame(
    (await query(prometheus, which)).map(({ metric }) => metric),
    [{ method: 'DELETE', path: '/api/buckets/:id', status_code: '500' }],
  )
  const [share] = await query(prometheus, became)
  t.equal(Number(share?.value[1]).toFixed(1), '1.0')
})

t.test('each query of the dashboard returns data', async (t) => {
  const queries: [string, { expr: string }[]][] = [
    // valkey.e2e.ts tests the panels of an engine over a network.
    ...panels
      .filter((panel) => !isOfEngine(panel))
      .map(({ title, targets }): [string, { expr: string }[]] => [title, targets]),
    ...dashboard.annotations.list.map(({ name, target }): [string, { expr: string }[]] => [name, [target]]),
  ]
  for (const [title, targets] of queries) {
    for (const { expr } of targets) {
      const samples = await eventually(() => query(prometheus, promql(expr)), isThere)
      t.ok(isThere(samples), `${title}: ${expr}`)
      t.notOk(
        samples.some(({ value }) => value[1] === 'NaN'),
        'no NaN',
      )
    }
  }
  for (const { name, definition } of dashboard.templating.list) {
    if (definition === undefined) continue
    const [, selector = '', label = ''] = /^label_values\((.*), (\w+)\)$/.exec(definition) ?? []
    const samples = await query(prometheus, promql(selector))
    t.ok(samples[0]?.metric[label], `variable ${name}: ${definition}`)
  }
})

t.test('three queries lead from the 500s to every successful DELETE', { timeout: 300_000 }, async (t) => {
  const [, failed = ''] = /^500: (\d+)$/m.exec(await drill) ?? []
  const [which = '', what = '', became = ''] = queriesIn(PAGE)
  const hasAll = ([sample]: Sample[]) => sample?.value[1] === failed
  t.strictSame(
    (await eventually(() => query(prometheus, which), hasAll)).map(({ metric, value }) => [metric, value[1]]),
    [[{ method: 'DELETE', path: '/api/buckets/:id', status_code: '500' }, failed]],
  )
  t.strictSame(
    new Set((await query(prometheus, what)).map(({ metric }) => metric)),
    new Set([{ status_code: '404' }, { status_code: '500' }]),
  )
  t.strictSame(
    (await query(prometheus, became)).map(({ value }) => value[1]),
    ['1'],
  )
})

t.test('the trace of a request is in its exemplar, and in each of its lines', async (t) => {
  const traceId = '0af7651916cd43dd8448eb211c80319c'
  const headers = { traceparent: `00-${traceId}-b7ad6b7169203331-01` }
  const url = `${await published('storage_api', 5000)}/api/buckets/traced`
  await fetch(url, { method: 'PUT' })
  t.equal((await fetch(url, { method: 'DELETE', headers })).status, 500)
  const traced = async () => (await exemplars()).filter(({ trace_id }) => trace_id === traceId)
  const [exemplar] = await eventually(traced, isThere)
  const lines = await logged(`"${exemplar?.request_id}"`)
  t.ok(lines.some((line) => line.includes('fault injected')))
  for (const line of lines) t.match(line, `"traceId":"${traceId}"`)
})

t.test(
  'the page fires, says how bad it is, and the others are those of the table',
  { timeout: 420_000 },
  async (t) => {
    const page = 'ALERTS{alertname="StorageApiErrorBudgetBurn",long="1h",alertstate="firing"}'
    const [firing] = await eventually(() => query(prometheus, page), isThere, 360)
    t.match(firing?.metric, { severity: 'page' })
    t.strictSame(
      new Set((await alerts()).filter((alert) => alert !== 'StorageApiErrorBudgetBurn 1h pending')),
      new Set([
        'StorageApiErrorBudgetBurn 1h firing',
        'StorageApiErrorBudgetBurn 1d pending',
        'StorageApiErrorBudgetBurn 3d pending',
        'StorageApiErrorBudgetBurn 6h pending',
        'StorageApiRestarted  firing',
      ]),
    )
    interface Alert {
      labels: Record<string, string>
    }
    const { data } = (await (await fetch(`${prometheus}/api/v1/alerts`)).json()) as {
      data: { alerts: Alert[] }
    }
    t.match(
      data.alerts.find(({ labels }) => labels.long === '1h'),
      { annotations: { description: /^\d+(\.\d+)?% of the responses under \/api in the last 1h were 5xx/ } },
    )
  },
)

t.test('the drill ends with the command that has no FAULTS', async (t) => {
  await compose(['up', '--detach', '--wait', ...SERVICES])
  const over = 'storage_api_faults{job="storage_api"} == 0'
  t.ok(isThere(await eventually(() => query(prometheus, over), isThere)))
})

t.test(
  'with the service stopped the dashboard says so in red, and shows nothing in green',
  { timeout: 240_000 },
  async (t) => {
    const figure = (title: string) => panels.find((panel) => panel.title === title) as Panel
    const shown = (title: string) => query(prometheus, promql(figure(title).targets[0]?.expr ?? ''))
    const color = (title: string, [sample]: Sample[]) =>
      colorOf(figure(title), sample && Number(sample.value[1]))
    const well = await shown('Instances Up')
    t.match(well, [{ metric: { up: '1', expected: '1' } }])
    t.equal(color('Instances Up', well), 'green')

    await compose(['stop', 'storage_api'])
    const down = await eventually(
      () => shown('Instances Up'),
      ([sample]) => sample?.metric.up === '0',
    )
    t.match(down, [{ metric: { up: '0', expected: '1' } }])
    t.equal(color('Instances Up', down), 'red')
    const paged = 'ALERTS{alertname="StorageApiDown",alertstate="firing"}'
    t.ok(isThere(await eventually(() => query(prometheus, paged), isThere, 120)))
    t.equal(color('Alerts', await shown('Alerts')), 'red')
    for (const title of ['Drill', 'p99', 'Rate', 'Error Share', 'Store Used']) {
      const samples = await eventually(
        () => shown(title),
        (samples) => !isThere(samples),
      )
      t.strictSame(samples, [], title)
      t.match(color(title, samples), /^(text|gray)$/, title)
    }
  },
)

/**
 * Prints the dashboard "Storage API" as JSON. `npm run dashboard` keeps it in dashboards/storage-api.json,
 * which Grafana loads.
 */
import * as common from '@grafana/grafana-foundation-sdk/common'
import * as sdk from '@grafana/grafana-foundation-sdk/dashboard'
import * as heatmap from '@grafana/grafana-foundation-sdk/heatmap'
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus'
import * as stat from '@grafana/grafana-foundation-sdk/stat'
import * as statetimeline from '@grafana/grafana-foundation-sdk/statetimeline'
import * as timeseries from '@grafana/grafana-foundation-sdk/timeseries'
import { link, RUNBOOKS, runbookLink, runbookUrl } from './runbooks.ts'

const PROMETHEUS = { type: 'prometheus', uid: `\${datasource}` }

/** What every selector begins with. "All" is `.*`, which recorded series match too: they have no instance. */
const SELECTED = 'job=~"$job", instance=~"$instance"'
const ALL_INSTANCES = 'Of all instances together, and empty where one of them is picked.'
const NOT_SCRAPED = 'not scraped'

const DURATION = 'http_request_duration_seconds'
const API = 'path=~"/api/.*"'
const FAILED = 'status_code=~"5.."'
const ROUTE = '{{method}} {{path}}'
const ANSWER = `${ROUTE} {{status_code}}`

/** The objectives of compose/prometheus/rules.yml: the share of requests that may fail, or be slow. */
const OBJECTIVES = { failed: 0.001, slow: 0.01 }
type Objective = keyof typeof OBJECTIVES
const SLOW_SECONDS = 0.01

const select = (metric: string, ...matchers: string[]) => `${metric}{${[SELECTED, ...matchers].join(', ')}}`
const rate = (metric: string, ...matchers: string[]) =>
  `rate(${select(metric, ...matchers)}[$__rate_interval])`
const requests = (...matchers: string[]) => rate(`${DURATION}_count`, ...matchers)
const durations = `sum by (le) (${rate(`${DURATION}_bucket`)})`
/** Failed requests, counted by the last bucket: only buckets have exemplars. */
const failures = `max without (le) (${rate(`${DURATION}_bucket`, FAILED)})`
/** Without requests a quantile is NaN, which no comparison lets through. */
const quantile = (q: number) => `histogram_quantile(${q}, ${durations}) >= 0`
const ratio = (objective: Objective, window: string) =>
  select(`job:http_requests_${objective}:ratio_rate${window}`)
const budgetLeft = (objective: Objective) => `1 - ${ratio(objective, '30d')} / ${OBJECTIVES[objective]}`
/** Alerts of the picked instances, and alerts about all instances together, which have no such label. */
const alerts = (state: string) =>
  `max by (alertname, severity) (ALERTS{job=~"$job", instance=~"$instance|", alertname=~"StorageApi.+", alertstate="${state}"})`
/** Whether each instance answers scrapes. Other jobs have this metric too, which "All" would include. */
const up = select('up', 'job="storage_api"')
/** Adds one series with a value and labels if the query before it returns nothing. */
const otherwise = (value: number, labels: Record<string, string>) => {
  const labeled = Object.entries(labels).reduce(
    (vector, [name, text]) => `label_replace(${vector}, "${name}", "${text}", "", "")`,
    `vector(${value})`,
  )
  return `or on () ${labeled}`
}

type Query = [expr: string, legend?: string, hasExemplars?: boolean]
/** A value, and the color that begins there. */
type Limit = [value: number, color: string]

interface Builder {
  id(id: number): this
  gridPos(position: sdk.GridPos): this
  title(title: string): this
  description(description: string): this
  unit(unit: string): this
  datasource(datasource: typeof PROMETHEUS): this
  targets(queries: DataqueryBuilder[]): this
  build(): sdk.Panel
}

/** A part of what the SDK builds, where its builder is longer, or adds what Grafana 13.2 does not have. */
const part = <T>(value: T) => ({ build: () => value })

function query([expr, legend = '', hasExemplars]: Query, index = 0): DataqueryBuilder {
  const refId = String.fromCharCode('A'.charCodeAt(0) + index)
  const builder = new DataqueryBuilder().refId(refId).datasource(PROMETHEUS).expr(expr).legendFormat(legend)
  return hasExemplars ? builder.range().exemplar(true) : builder.range()
}

/** A description may be wrapped: its white space is collapsed. */
function panel<B extends Builder>(
  builder: B,
  title: string,
  unit: string,
  description: string,
  queries: DataqueryBuilder[],
): B {
  const text = description.replace(/\s+/g, ' ')
  return builder.title(title).unit(unit).description(text).datasource(PROMETHEUS).targets(queries)
}

const thresholds = (first: string, ...limits: Limit[]) =>
  part<sdk.ThresholdsConfig>({
    mode: sdk.ThresholdsMode.Absolute,
    steps: [{ value: null, color: first }, ...limits.map(([value, color]) => ({ value, color }))],
  })

const mapping = (from: number, to: number | null, text: string, color: string): sdk.ValueMapping => ({
  type: sdk.MappingType.RangeToText,
  options: { from, to, result: { text, color } },
})

/** The first color is neutral, because a figure without data has it. */
const judged = (...limits: Limit[]) => thresholds('text', [0, 'green'], ...limits)

const inShades = (fixedColor: string) => ({ mode: sdk.FieldColorModeId.Shades, fixedColor })
const shades = (fixedColor: string) => [{ id: 'color', value: inShades(fixedColor) }]

const LEGEND = part({
  displayMode: common.LegendDisplayMode.List,
  placement: common.LegendPlacement.Bottom,
  showLegend: true,
  calcs: [],
})
const TOOLTIP = part({ mode: common.TooltipDisplayMode.Multi, sort: common.SortOrder.Descending })

/** Points show where a line would have no second end: after a gap, or in a graph of rare events. */
function graph(title: string, unit: string, description: string, ...queries: Query[]) {
  return panel(new timeseries.PanelBuilder(), title, unit, description, queries.map(query))
    .axisSoftMin(0)
    .lineWidth(1)
    .fillOpacity(10)
    .showPoints(common.VisibilityMode.Auto)
    .legend(LEGEND)
    .tooltip(TOOLTIP)
}

/** Without lines, because the line of a zero would lie on top of the whole stack. */
function stack(title: string, unit: string, description: string, ...queries: Query[]) {
  const stacking = part({ mode: common.StackingMode.Normal, group: 'A' })
  return graph(title, unit, description, ...queries)
    .lineWidth(0)
    .fillOpacity(80)
    .stacking(stacking)
}

/** Lines where the limits are. */
function limit(builder: timeseries.PanelBuilder, ...limits: Limit[]) {
  const style = part({ mode: common.GraphThresholdsStyleMode.Dashed })
  return builder.thresholds(thresholds('transparent', ...limits)).thresholdsStyle(style)
}

/** A figure of this moment: the last one of the range could be a quarter of an hour old. */
function figure(title: string, unit: string, description: string, ...queries: Query[]) {
  const instants = queries.map((one) => query(one).instant())
  return panel(new stat.PanelBuilder(), title, unit, description, instants)
    .graphMode(common.BigValueGraphMode.None)
    .thresholds(thresholds('text'))
}

/** No budget is above 1. So this value means that there is a budget, but one instance is picked. */
const NOT_OF_ONE = 2

/** Red begins at -1 / objective, because no budget is lower: not even where every request has failed. */
const budgetFigure = (title: string, objective: Objective, description: string) =>
  figure(title, 'percentunit', `${description} ${ALL_INSTANCES}`, [
    `min(${budgetLeft(objective)})
or 0 * min(job:http_requests_${objective}:ratio_rate30d{job=~"$job"}) + ${NOT_OF_ONE}`,
  ])
    .thresholds(thresholds('text', [-1 / OBJECTIVES[objective], 'red'], [0, 'orange'], [0.25, 'green']))
    .mappings([mapping(NOT_OF_ONE, NOT_OF_ONE, 'all instances only', 'text')])
    .noValue('no requests')

const ofObjectives = (title: string, unit: string, description: string, ...queries: Query[]) =>
  graph(title, unit, `${description} ${ALL_INSTANCES}`, ...queries).noValue(
    'no requests, or one instance is picked',
  )

function shareGraph(title: string, objective: Objective, description: string) {
  const queries = ['5m', '1h'].map((window): Query => [ratio(objective, window), `{{job}}, ${window}`])
  const shares = ofObjectives(title, 'percentunit', description, ...queries).colorScheme(
    part(inShades('orange')),
  )
  return limit(shares.axisSoftMax(2 * OBJECTIVES[objective]), [OBJECTIVES[objective], 'red'])
}

/** With lines at the burn rates where the alerts over 3 days, 1 day, 6 hours and 1 hour begin. */
function burnGraph(title: string, objective: Objective, description: string) {
  const queries = ['5m', '30m', '1h', '6h'].map(
    (window): Query => [`${ratio(objective, window)} / ${OBJECTIVES[objective]}`, `{{job}}, ${window}`],
  )
  const burnRates = ofObjectives(title, 'none', description, ...queries).axisSoftMax(16)
  return limit(burnRates, [1, 'blue'], [3, 'yellow'], [6, 'orange'], [14.4, 'red'])
}

/** A gauge, a line an instance. */
const gauge = (metric: string, name?: string): Query => [
  select(metric),
  name === undefined ? '{{instance}}' : `${name}, {{instance}}`,
]

/** The states of alerts over time: 0 means no alert, 1 pending, 2 firing. Each alert leads to its runbook. */
function timeline(title: string, description: string, states: Query) {
  const builder = panel(new statetimeline.PanelBuilder(), title, 'none', description, [query(states)])
    .mappings([
      mapping(0, 0, 'none', 'green'),
      mapping(1, 1, 'pending', 'orange'),
      mapping(2, 2, 'firing', 'red'),
    ])
    // With thresholds for colors the legend would have these, and not the states.
    .colorScheme(part({ mode: sdk.FieldColorModeId.Fixed }))
    .legend(LEGEND)
    .tooltip(TOOLTIP)
  for (const name of RUNBOOKS.slice(1)) {
    const value = [{ title: `Runbook ${name}`, url: runbookUrl(name) }]
    builder.overrideByRegexp(`/^${name} /`, [{ id: 'links', value }])
  }
  // 0 is one page without a pager. The SDK's builder accepts only 1 and more.
  Object.assign(builder.build().options, { perPage: 0 })
  return builder
}

/** A limit is a dashed line without a fill, because it is not an amount. */
const LIMIT_LINE = [
  { id: 'custom.lineStyle', value: { fill: 'dash', dash: [10, 10] } },
  { id: 'custom.fillOpacity', value: 0 },
  { id: 'color', value: { mode: sdk.FieldColorModeId.Fixed, fixedColor: 'red' } },
]

/** Where each panel leads to: the title of a graph that tells more, or the name of a runbook. */
const LEADS_TO: Record<string, string> = {
  'Instances Up': 'StorageApiDown',
  Alerts: 'Alerts over Time',
  Drill: 'Errors by Route',
  p99: 'HTTP Request Duration, Quantiles',
  Rate: 'HTTP Status Codes',
  'Error Share': 'Errors by Route',
  'Error Budget': 'Error Budget Burn Rate',
  'Latency Budget': 'Latency Budget Burn Rate',
  'Store Used': 'Bytes',
  'Average HTTP Request Duration': 'HTTP Request Duration, Quantiles',
  'HTTP Status Codes': 'Errors by Route',
  'Alerts over Time': 'README',
  'Errors by Route': 'StorageApiErrorBudgetBurn',
  'HTTP Request Duration, Quantiles': 'StorageApiLatencyBudgetBurn',
  'HTTP Request Duration, Distribution': 'StorageApiLatencyBudgetBurn',
  'Rejected Requests': 'StorageApiRequestsRejected',
  'Request Rate by Route': 'HTTP Status Codes',
  'Requests in Flight': 'StorageApiEventLoopLag',
  'Failed Requests': 'StorageApiErrorBudgetBurn',
  'Slow Requests': 'StorageApiLatencyBudgetBurn',
  'Error Budget Burn Rate': 'StorageApiErrorBudgetBurn',
  'Latency Budget Burn Rate': 'StorageApiLatencyBudgetBurn',
  'Budgets Left': 'StorageApiErrorBudgetBurn',
  Objects: 'StorageApiRestarted',
  Bytes: 'StorageApiStoreNearlyFull',
  Operations: 'StorageApiStoreFull',
  'Engine Up': 'StorageApiEngineDown',
  'Engine Duration': 'StorageApiEngineSlow',
  'Engine Queue': 'StorageApiEngineSlow',
  CPU: 'StorageApiEventLoopLag',
  'Resident Memory': 'StorageApiRestarted',
  Heap: 'StorageApiStoreNearlyFull',
  'Event Loop Lag': 'StorageApiEventLoopLag',
  'Garbage Collection': 'StorageApiEventLoopLag',
  'Open File Descriptors': 'StorageApiConnectionLimit',
  Connections: 'StorageApiConnectionLimit',
  Uptime: 'StorageApiRestarted',
  Builds: 'StorageApiRestarted',
}

const dashboard = new sdk.DashboardBuilder('Storage API')
const panels: sdk.Panel[] = []
let [id, y] = [1, 0]
/** The row that is being filled, if it is collapsed. It contains its panels, and takes one line of the grid. */
let collapsed: sdk.RowPanel | undefined

function heading(title: string, isCollapsed = false): void {
  if (collapsed !== undefined) y = (collapsed.gridPos?.y ?? 0) + 1
  const gridPos = { x: 0, y: y++, w: 24, h: 1 }
  const row: sdk.RowPanel = { type: 'row', title, id: id++, gridPos, collapsed: isCollapsed, panels: [] }
  dashboard.withRow(part(row))
  collapsed = isCollapsed ? row : undefined
}

/** Panels side by side, below all that came before: none overlap. The widths add up to 24. */
function place(height: number, widths: number[], ...builders: Builder[]): void {
  let x = 0
  for (const [i, builder] of builders.entries()) {
    const w = widths[i] as number
    const built = builder.id(id++).gridPos({ x, y, w, h: height }).build()
    panels.push(built)
    if (collapsed === undefined) dashboard.withPanel(part(built))
    else collapsed.panels.push(built)
    x += w
  }
  y += height
}

/** Panels that share the 24 columns of the grid. */
function line(height: number, ...builders: Builder[]): void {
  const widths = builders.map(() => 24 / builders.length)
  place(height, widths, ...builders)
}

heading('Now')
place(
  3,
  [6, 5, 5, 4, 4],
  figure(
    'Instances Up',
    'percentunit',
    `How many instances answer Prometheus, of those that it knows. Look for red: an instance does not answer, or Prometheus knows no instance.`,
    [
      `sum(${up}) / count(${up})
* on () group_left (up) count_values("up", sum(${up}))
* on () group_left (expected) count_values("expected", count(${up}))
${otherwise(0, { up: '0', expected: '0' })}`,
      '{{up}} of {{expected}}',
    ],
  )
    .textMode(common.BigValueTextMode.Name)
    .thresholds(thresholds('red', [1, 'green'])),
  figure(
    'Alerts',
    'none',
    `How many alerts fire. Look for red, and then at Alerts over Time, which names them.`,
    [`count(${alerts('firing')})\nor vector(0)`],
  )
    .thresholds(judged([1, 'red']))
    .mappings([mapping(0, 0, 'none', 'green')]),
  figure(
    'Drill',
    'none',
    `Whether FAULTS makes the service misbehave on purpose. Look here first when something is wrong: while it
    is ON, errors and delays are made.`,
    [`sum(${select('storage_api_faults')})`],
  )
    .colorMode(common.BigValueColorMode.BackgroundSolid)
    .thresholds(thresholds('gray'))
    .mappings([mapping(0, 0, 'off', 'green'), mapping(1, null, 'ON', 'red')])
    .noValue(NOT_SCRAPED),
  figure(
    'p99',
    's',
    `The time within which 99 of 100 requests are answered. Look for red, beyond the 10 ms of the objective.`,
    [quantile(0.99)],
  )
    .thresholds(judged([SLOW_SECONDS, 'red']))
    .noValue('no requests'),
  figure(
    'Rate',
    'reqps',
    `Requests a second. Look for a figure that is far from what is usual at this hour: 0 may be a proxy that
    sends nothing, or clients that have given up.`,
    [`sum(${requests()})`],
  ).noValue(NOT_SCRAPED),
)
line(
  3,
  figure(
    'Error Share',
    'percentunit',
    `The share of the answers under /api that are 5xx. Look for red, beyond the 0.1 % of the objective.`,
    [`sum(${requests(API, FAILED)}) / (sum(${requests(API)}) > 0)\nor 0 * sum(${requests(API)})`],
  )
    .thresholds(judged([OBJECTIVES.failed, 'red']))
    .noValue(NOT_SCRAPED),
  budgetFigure(
    'Error Budget',
    'failed',
    `What is left of the 0.1 % of requests that may fail in 30 days. Look for orange, less than a quarter:
    deploy nothing risky. Red: the objective is missed.`,
  ),
  budgetFigure(
    'Latency Budget',
    'slow',
    `What is left of the 1 % of requests that may take more than 10 ms in 30 days. Look for orange, less than
    a quarter: deploy nothing risky. Red: the objective is missed.`,
  ),
  figure(
    'Store Used',
    'percentunit',
    `The share of MAX_STORE_BYTES in use, of the instance that is fullest. Look for red, beyond 90 %: soon each
    PUT of something new is 507.`,
    [`max(${select('storage_bytes')} / ${select('storage_bytes_limit')})`],
  )
    .thresholds(judged([0.9, 'red']))
    .noValue(NOT_SCRAPED),
)

heading('Requests')
line(
  10,
  graph(
    'Average HTTP Request Duration',
    's',
    `Mean time from the end of a request's headers to the end of its answer, by method and route. Look for a
    line that leaves its neighbours: one route is slow.`,
    [
      `sum by (method, path) (${rate(`${DURATION}_sum`)})
/
(sum by (method, path) (${requests()}) > 0)`,
      ROUTE,
    ],
  ).noValue('no requests'),
  stack(
    'HTTP Status Codes',
    'reqps',
    `Requests a second by status code. Look for 5xx: 507 is a full store, 503 overload, 500 a fault; and for
    499, clients that did not wait.`,
    [`sum by (status_code) (${requests()}) > 0`, '{{status_code}}'],
  )
    .noValue('no requests')
    .overrideByRegexp('/^2/', shades('green'))
    .overrideByRegexp('/^3/', shades('blue'))
    .overrideByRegexp('/^4/', shades('yellow'))
    .overrideByRegexp('/^5/', shades('red')),
)

heading('Alerts, Errors and Latency')
line(
  8,
  timeline(
    'Alerts over Time',
    `Alerts that fire, or are pending. Look for red, and click on it for the runbook. Alerts of the objectives
    are of all instances together, and stay where one is picked.`,
    [
      `2 * ${alerts('firing')}\nor ${alerts('pending')}\n${otherwise(0, { alertname: 'no alerts' })}`,
      '{{alertname}} {{severity}}',
    ],
  ),
  stack(
    'Errors by Route',
    'reqps',
    `Answers of 5xx a second, by method, route and status code: empty is good. Look for one method that fails,
    and for a drill before anything else. A dot is one failed request: its request_id is in the log.`,
    [`sum by (method, path, status_code) (${failures}) > 0`, ANSWER, true],
  )
    .colorScheme(part(inShades('red')))
    .noValue('no errors'),
)
line(
  8,
  limit(
    graph(
      'HTTP Request Duration, Quantiles',
      's',
      `The time within which half, nine tenths and 99 of 100 requests were answered. Look for a p99 beyond the
      line at 10 ms while p50 stays: a few wait, for large objects, slow clients or a blocked event loop. A
      dot is one slow or failed request: its request_id is in the log.`,
      [quantile(0.5), 'p50'],
      [quantile(0.9), 'p90'],
      [quantile(0.99), 'p99', true],
    ),
    [SLOW_SECONDS, 'red'],
  ),
  panel(
    new heatmap.PanelBuilder(),
    'HTTP Request Duration, Distribution',
    'reqps',
    `Requests a second by duration. Look for a second band above the first: some requests go another way, as
    large objects do, or wait.`,
    [query([durations, '{{le}}']).format(PromQueryFormat.Heatmap)],
  )
    .yAxis(part({ unit: 's' }))
    .cellValues(part({ unit: 'reqps' }))
    .color(
      part({
        mode: heatmap.HeatmapColorMode.Scheme,
        scale: heatmap.HeatmapColorScale.Exponential,
        scheme: 'Oranges',
        fill: 'dark-orange',
        exponent: 0.5,
        steps: 64,
        reverse: false,
      }),
    ),
)
line(
  7,
  stack(
    'Rejected Requests',
    'reqps',
    `Requests a second that no route has seen, by why they were refused: empty is good. Look for a reason that
    dominates: a client or a proxy does not speak HTTP/1.1, or is too slow.`,
    [`sum by (reason) (${rate('http_requests_rejected_total')}) > 0`, '{{reason}}'],
  )
    .colorScheme(part(inShades('orange')))
    .noValue('none rejected'),
  stack(
    'Request Rate by Route',
    'reqps',
    `Requests a second by method and route. Look for the route behind a change above; unmatched is what no
    route answers, scanners above all.`,
    [`sum by (method, path) (${requests()}) > 0`, ROUTE],
  ).noValue('no requests'),
  graph(
    'Requests in Flight',
    'short',
    `Requests that have begun and not yet been answered. Look for a line that only grows: clients stall, or
    the event loop does.`,
    gauge('http_requests_in_flight'),
  ).axisSoftMax(5),
)

heading('Objectives', true)
line(
  9,
  shareGraph(
    'Failed Requests',
    'failed',
    `The share of the answers under /api that are 5xx, and the 0.1 % of the objective. Look for the hour
    beyond the line, not for a peak of five minutes.`,
  ),
  shareGraph(
    'Slow Requests',
    'slow',
    `The share of the answers under /api that took more than 10 ms, and the 1 % of the objective. Look for the
    hour beyond the line, not for a peak of five minutes.`,
  ),
)
line(
  9,
  burnGraph(
    'Error Budget Burn Rate',
    'failed',
    `How fast failures use up their budget: at 1 it lasts 30 days, at 14.4 two. Look for 1h and 5m both beyond
    14.4, or 6h and 30m both beyond 6, which page; beyond 3 for a day or 1 for three is a ticket.`,
  ),
  burnGraph(
    'Latency Budget Burn Rate',
    'slow',
    `How fast slow requests use up their budget: at 1 it lasts 30 days, at 14.4 two. Look for 1h and 5m both
    beyond 14.4, or 6h and 30m both beyond 6, which page; beyond 3 for a day or 1 for three is a ticket.`,
  ),
)
line(
  9,
  limit(
    ofObjectives(
      'Budgets Left',
      'percentunit',
      `What is left of what may fail or be slow in 30 days. Look for where the slope begins, and what starts
      or drills are there.`,
      [budgetLeft('failed'), 'errors, {{job}}'],
      [budgetLeft('slow'), 'latency, {{job}}'],
    ).axisSoftMax(1),
    [0, 'red'],
  ),
)

heading('Store')
line(
  8,
  graph(
    'Objects',
    'short',
    `Objects that are stored. Look for a fall to zero at a start: the memory engine forgets.`,
    gauge('storage_objects'),
  ),
  graph(
    'Bytes',
    'bytes',
    `Memory that objects, ids, bookkeeping and uploads under way take, against MAX_STORE_BYTES. Look for the
    lines coming near: what does not fit between them is 507, as are small objects beyond their quarter of
    V8's heap.`,
    gauge('storage_bytes', 'used'),
    gauge('storage_bytes_limit', 'limit'),
  ).overrideByRegexp('/^limit/', LIMIT_LINE),
  stack(
    'Operations',
    'ops',
    `Operations of the store a second, by how they ended. Look for full, which is 507, for error, which is the
    engine's, and for misses that outgrow hits.`,
    [`sum by (operation, outcome) (${rate('storage_operations_total')}) > 0`, '{{operation}} {{outcome}}'],
  )
    .overrideByRegexp('/ (full|error)$/', shades('red'))
    .noValue('no operations'),
)

heading('Engine', true)
line(
  9,
  graph(
    'Engine Up',
    'none',
    `Whether each instance reaches its engine over a network: 1, or 0. Look for 0, while every request under
    /api is 503: of one instance it is the network, of all the engine. The memory engine has none.`,
    gauge('storage_engine_up'),
  )
    .axisSoftMax(1)
    .noValue('no engine over a network'),
  graph(
    'Engine Duration',
    's',
    `The time within which 99 of 100 operations on the engine end, by operation, as far as the buckets of 1,
    10 and 100 ms tell. Look for a rise with that of the requests: the engine is slow, and not the service.`,
    [
      `histogram_quantile(0.99, sum by (operation, le) (${rate('storage_engine_duration_seconds_bucket')})) >= 0`,
      '{{operation}}',
    ],
  ).noValue('no operations over a network'),
  graph(
    'Engine Queue',
    's',
    `The time that 99 of 100 operations wait in the service at most, by operation. Look for a rise of get and put:
    large objects fill the network to the engine. After 4 seconds in the queue they are refused with 503.`,
    [
      `histogram_quantile(0.99, sum by (operation, le) (${rate('storage_engine_queue_seconds_bucket')})) >= 0`,
      '{{operation}}',
    ],
  ).noValue('no operations over a network'),
)

heading('Process and Node.js', true)
line(
  9,
  graph(
    'CPU',
    'percentunit',
    `Processor time, where 100 % is one core. Look for 100 %: JavaScript has one thread, and from there on
    requests wait.`,
    [rate('process_cpu_seconds_total'), '{{instance}}'],
  ),
  graph(
    'Resident Memory',
    'bytes',
    `Memory of the process, stored objects included. Look for growth that Bytes does not explain, and for the
    limit of the container, where the kernel ends the process.`,
    gauge('process_resident_memory_bytes'),
  ),
  graph(
    'Heap',
    'bytes',
    `V8's heap, which has ids and bookkeeping but no payloads. Look for a use that falls less with each
    collection: a leak, or many small objects.`,
    gauge('nodejs_heap_size_used_bytes', 'used'),
    gauge('nodejs_heap_size_total_bytes', 'total'),
  ),
)
line(
  9,
  limit(
    graph(
      'Event Loop Lag',
      's',
      `How long a timer of 10 ms takes, so that 10 ms is an idle loop. Look for a p99 beyond the line at 100
      ms: something blocks, and every request waits as long.`,
      gauge('nodejs_eventloop_lag_mean_seconds', 'mean'),
      gauge('nodejs_eventloop_lag_p99_seconds', 'p99'),
    ),
    [0.1, 'red'],
  ),
  stack(
    'Garbage Collection',
    'percentunit',
    `The share of the time that goes into collecting garbage, by kind. Look for major beyond a few percent:
    the heap is near its limit.`,
    [`sum by (kind) (${rate('nodejs_gc_duration_seconds_sum')}) > 0`, '{{kind}}'],
  ).noValue('no collections'),
  graph(
    'Open File Descriptors',
    'short',
    `Connections, and a few files. Look for growth without traffic: clients leave connections open, and at the
    limit of the process nobody else can connect.`,
    gauge('process_open_fds'),
  ),
)
line(
  9,
  graph(
    'Connections',
    'short',
    `Open connections, and how many the server closes per second, by reason. Look for limit: MAX_CONNECTIONS are
    open, and idle ones are closed for new ones.`,
    gauge('http_connections', 'open'),
    [
      `sum by (instance, reason) (${rate('http_connections_closed_total')})`,
      'closed per second, {{reason}}, {{instance}}',
    ],
  ),
  graph(
    'Uptime',
    'dthms',
    `Time since the start of the process. Look for a fall that no deployment explains: the memory engine has
    forgotten everything.`,
    [`time() - ${select('process_start_time_seconds')}`, '{{instance}}'],
  ),
  figure(
    'Builds',
    'none',
    `The release that each instance runs. Look for two revisions: a deployment is under way, or got stuck.`,
    [
      select('storage_api_build_info'),
      '{{instance}}: {{version}} ({{revision}}), Node.js {{node_version}}, {{engine}}',
    ],
  ).textMode(common.BigValueTextMode.Name),
)

/** Keeps the variables and the range. */
const graphLink = ({ title = '', id }: sdk.Panel) =>
  link(title, `/d/storage-api?\${__all_variables}&\${__url_time_range}&viewPanel=panel-${id}`)

for (const panel of panels) {
  const to = LEADS_TO[panel.title ?? ''] ?? ''
  const target = panels.find(({ title }) => title === to)
  if (target === undefined && !RUNBOOKS.includes(to)) throw new Error(`LEADS_TO lacks "${panel.title}"`)
  panel.links = [(target === undefined ? runbookLink(to) : graphLink(target)).build()]
}

/** Offers the values of a label that instances have. */
function variable(label: string, name: string, selector: string) {
  const definition = `label_values(${selector}, ${name})`
  return part<sdk.VariableModel>({
    type: sdk.VariableType.Query,
    name,
    label,
    datasource: PROMETHEUS,
    definition,
    query: { query: definition, refId: name },
    refresh: sdk.VariableRefresh.OnTimeRangeChanged,
    sort: sdk.VariableSort.AlphabeticalAsc,
    multi: true,
    includeAll: true,
    allValue: '.*',
    current: { text: 'All', value: '$__all' },
  })
}

const annotation = (titleFormat: string, iconColor: string, expr: string, useValueForTime: boolean) =>
  part<sdk.AnnotationQuery>({
    name: titleFormat.split(' ', 1)[0] as string,
    enable: true,
    iconColor,
    datasource: PROMETHEUS,
    target: query([expr]).build(),
    titleFormat,
    useValueForTime,
  })

dashboard
  .uid('storage-api')
  .description('Requests, latency, contents and objectives of the Storage API')
  .tags(['storage-api', 'prometheus'])
  .readonly()
  .tooltip(sdk.DashboardCursorSync.Crosshair)
  .refresh('5s')
  // Three minutes of traffic, as the quick start sends, fill more than half of it. Links of alerts ask for longer.
  .time({ from: 'now-5m', to: 'now' })
  .links([runbookLink('README')])
  .variables([
    part<sdk.VariableModel>({
      type: sdk.VariableType.Datasource,
      name: 'datasource',
      label: 'Data source',
      query: PROMETHEUS.type,
      current: { text: 'Prometheus', value: 'prometheus' },
    }),
    variable('Job', 'job', 'storage_api_build_info'),
    variable('Instance', 'instance', 'storage_api_build_info{job=~"$job"}'),
  ])
  .annotations([
    // The value is the moment of the start, in milliseconds: more exact than the scrape that tells it.
    annotation('Start of {{instance}}', 'blue', `1000 * ${select('process_start_time_seconds')}`, true),
    annotation('Drill of {{job}}', 'red', `sum by (job) (${select('storage_api_faults')}) > 0`, false),
  ])

console.log(JSON.stringify(dashboard.build(), null, 2))

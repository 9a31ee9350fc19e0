/**
 * Prints the dashboard "Storage API" as JSON. Grafana loads it from dashboards/storage-api.json,
 * which `npm run dashboard` writes.
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

/**
 * The matchers of every selector. "All" is `.*`, so that it matches recorded series, which have no
 * instance.
 */
const SELECTED = 'job=~"$job", instance=~"$instance"'
const ALL_INSTANCES = 'It is about all instances together, and empty if you pick one.'
const NOT_SCRAPED = 'not scraped'

const DURATION = 'http_request_duration_seconds'
const API = 'path=~"/api/.*"'
const FAILED = 'status_code=~"5.."'
const ROUTE = '{{method}} {{path}}'
const ANSWER = `${ROUTE} {{status_code}}`

/**
 * The objectives of compose/prometheus/rules.yml: the share of requests that may fail or be slow.
 */
const OBJECTIVES = { failed: 0.001, slow: 0.01 }
type Objective = keyof typeof OBJECTIVES
const SLOW_SECONDS = 0.01

const select = (metric: string, ...matchers: string[]) => `${metric}{${[SELECTED, ...matchers].join(', ')}}`
const rate = (metric: string, ...matchers: string[]) =>
  `rate(${select(metric, ...matchers)}[$__rate_interval])`
const requests = (...matchers: string[]) => rate(`${DURATION}_count`, ...matchers)
const durations = `sum by (le) (${rate(`${DURATION}_bucket`)})`
/** Without requests a quantile is NaN. The comparison drops it. */
const quantile = (q: number) => `histogram_quantile(${q}, ${durations}) >= 0`
const ratio = (objective: Objective, window: string) =>
  select(`job:http_requests_${objective}:ratio_rate${window}`)
const budgetLeft = (objective: Objective) => `1 - ${ratio(objective, '30d')} / ${OBJECTIVES[objective]}`
/**
 * Alerts of the picked instances, and alerts about all instances, which have no label `instance`.
 */
const alerts = (state: string) =>
  `max by (alertname, severity) (ALERTS{job=~"$job", instance=~"$instance|", alertname=~"StorageApi.+", alertstate="${state}"})`
/**
 * Whether Prometheus can scrape each instance. Other jobs have this metric too, so "All" is not
 * enough.
 */
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
/** A value, and the color from this value on. */
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

/**
 * A part without the SDK's builder, which would be longer or add fields that Grafana 13.2 does not
 * have.
 */
const part = <T>(value: T) => ({ build: () => value })

function query([expr, legend = '', hasExemplars]: Query, index = 0): DataqueryBuilder {
  const refId = String.fromCharCode('A'.charCodeAt(0) + index)
  const builder = new DataqueryBuilder().refId(refId).datasource(PROMETHEUS).expr(expr).legendFormat(legend)
  return hasExemplars ? builder.range().exemplar(true) : builder.range()
}

/**
 * Sets what every panel has. The white space of the description is collapsed, so it may be wrapped.
 */
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

/** The first color is neutral, because a figure without data gets it. */
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

/** Single values are points: after a gap, or in a graph of rare events. */
function graph(title: string, unit: string, description: string, ...queries: Query[]) {
  return panel(new timeseries.PanelBuilder(), title, unit, description, queries.map(query))
    .axisSoftMin(0)
    .lineWidth(1)
    .fillOpacity(10)
    .showPoints(common.VisibilityMode.Auto)
    .legend(LEGEND)
    .tooltip(TOOLTIP)
}

/** Stacked areas without lines, because the line of a series at 0 would lie on top of the stack. */
function stack(title: string, unit: string, description: string, ...queries: Query[]) {
  const stacking = part({ mode: common.StackingMode.Normal, group: 'A' })
  return graph(title, unit, description, ...queries)
    .lineWidth(0)
    .fillOpacity(80)
    .stacking(stacking)
}

/** Adds a dashed line at each limit. */
function limit(builder: timeseries.PanelBuilder, ...limits: Limit[]) {
  const style = part({ mode: common.GraphThresholdsStyleMode.Dashed })
  return builder.thresholds(thresholds('transparent', ...limits)).thresholdsStyle(style)
}

/** The value of this moment. The last value of the time range could be 15 minutes old. */
function figure(title: string, unit: string, description: string, ...queries: Query[]) {
  const instants = queries.map((one) => query(one).instant())
  return panel(new stat.PanelBuilder(), title, unit, description, instants)
    .graphMode(common.BigValueGraphMode.None)
    .thresholds(thresholds('text'))
}

/** Means that there is a budget, but one instance is picked. No budget is above 1. */
const NOT_OF_ONE = 2

/** Red begins at -1 / objective, the budget after every request has failed. No budget is lower. */
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

/** With lines at the burn rates of the alerts over 3 days, 1 day, 6 hours and 1 hour. */
function burnGraph(title: string, objective: Objective, description: string) {
  const queries = ['5m', '30m', '1h', '6h'].map(
    (window): Query => [`${ratio(objective, window)} / ${OBJECTIVES[objective]}`, `{{job}}, ${window}`],
  )
  const burnRates = ofObjectives(title, 'none', description, ...queries).axisSoftMax(16)
  return limit(burnRates, [1, 'blue'], [3, 'yellow'], [6, 'orange'], [14.4, 'red'])
}

/** A gauge with one line per instance. */
const gauge = (metric: string, name?: string): Query => [
  select(metric),
  name === undefined ? '{{instance}}' : `${name}, {{instance}}`,
]

/**
 * The states of alerts over time: 0 is no alert, 1 pending, 2 firing. Each alert links to its
 * runbook.
 */
function timeline(title: string, description: string, states: Query) {
  const builder = panel(new statetimeline.PanelBuilder(), title, 'none', description, [query(states)])
    .mappings([
      mapping(0, 0, 'none', 'green'),
      mapping(1, 1, 'pending', 'orange'),
      mapping(2, 2, 'firing', 'red'),
    ])
    // If the colors came from thresholds, the legend would show the thresholds instead of the
    // states.
    .colorScheme(part({ mode: sdk.FieldColorModeId.Fixed }))
    .legend(LEGEND)
    .tooltip(TOOLTIP)
  for (const name of RUNBOOKS.slice(1)) {
    const value = [{ title: `Runbook ${name}`, url: runbookUrl(name) }]
    builder.overrideByRegexp(`/^${name} /`, [{ id: 'links', value }])
  }
  // 0 shows all alerts on one page. The SDK's builder accepts only 1 and more.
  Object.assign(builder.build().options, { perPage: 0 })
  return builder
}

/** The style of a limit: a dashed line without a fill, because a limit is not an amount. */
const LIMIT_LINE = [
  { id: 'custom.lineStyle', value: { fill: 'dash', dash: [10, 10] } },
  { id: 'custom.fillOpacity', value: 0 },
  { id: 'color', value: { mode: sdk.FieldColorModeId.Fixed, fixedColor: 'red' } },
]

/** The link of each panel: the title of a more detailed graph, or the name of a runbook. */
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
/**
 * The current row, if it is collapsed. A collapsed row contains its panels and takes one line of
 * the grid.
 */
let collapsed: sdk.RowPanel | undefined

function heading(title: string, isCollapsed = false): void {
  if (collapsed !== undefined) y = (collapsed.gridPos?.y ?? 0) + 1
  const gridPos = { x: 0, y: y++, w: 24, h: 1 }
  const row: sdk.RowPanel = { type: 'row', title, id: id++, gridPos, collapsed: isCollapsed, panels: [] }
  dashboard.withRow(part(row))
  collapsed = isCollapsed ? row : undefined
}

/** Places panels side by side below all earlier ones. The widths add up to 24. */
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

/** Places panels of the same width side by side. */
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
    `How many of the known instances Prometheus can scrape. Look for red: Prometheus cannot scrape
    an instance, or knows no instance.`,
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
    `How many alerts are firing. Look for red. Alerts over Time then names the alerts.`,
    [`count(${alerts('firing')})\nor vector(0)`],
  )
    .thresholds(judged([1, 'red']))
    .mappings([mapping(0, 0, 'none', 'green')]),
  figure(
    'Drill',
    'none',
    `Whether a drill is on: the setting FAULTS makes requests fail or wait on purpose. Look here
    first when something is wrong.`,
    [`sum(${select('storage_api_faults')})`],
  )
    .colorMode(common.BigValueColorMode.BackgroundSolid)
    .thresholds(thresholds('gray'))
    .mappings([mapping(0, 0, 'off', 'green'), mapping(1, null, 'ON', 'red')])
    .noValue(NOT_SCRAPED),
  figure(
    'p99',
    's',
    `The p99 duration of requests: 99 of 100 requests take at most this long. Look for red: above
    the objective of 10 ms.`,
    [quantile(0.99)],
  )
    .thresholds(judged([SLOW_SECONDS, 'red']))
    .noValue('no requests'),
  figure(
    'Rate',
    'reqps',
    `Requests per second. Look for a value that is unusual at this hour. At 0, a proxy may send
    nothing, or clients may have given up.`,
    [`sum(${requests()})`],
  ).noValue(NOT_SCRAPED),
)
line(
  3,
  figure(
    'Error Share',
    'percentunit',
    `The share of responses under /api that are 5xx. Look for red: above the objective of 0.1 %.`,
    [`sum(${requests(API, FAILED)}) / (sum(${requests(API)}) > 0)\nor 0 * sum(${requests(API)})`],
  )
    .thresholds(judged([OBJECTIVES.failed, 'red']))
    .noValue(NOT_SCRAPED),
  budgetFigure(
    'Error Budget',
    'failed',
    `0.1 % of the requests of 30 days may fail. This is the rest of that budget. Look for orange:
    less than a quarter is left, so deploy nothing risky. Red means that the objective is missed.`,
  ),
  budgetFigure(
    'Latency Budget',
    'slow',
    `1 % of the requests of 30 days may take more than 10 ms. This is the rest of that budget. Look
    for orange: less than a quarter is left, so deploy nothing risky. Red means that the objective
    is missed.`,
  ),
  figure(
    'Store Used',
    'percentunit',
    `The used share of MAX_STORE_BYTES in the fullest instance. Look for red: above 90 %, PUTs of
    new objects may soon get 507.`,
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
    `The mean time from the end of the request headers to the end of the response, by method and
    route. Look for a line that rises above the others: this route is slow.`,
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
    `Requests per second by status code. Look for 5xx: 500 is a bug, 503 is overload or an engine
    that is down, 507 is a full store. 499 means that clients did not wait for the response.`,
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
    `Alerts that are pending or firing. Look for red, and click it to open the runbook. The alerts
    of the objectives are about all instances together. They stay if you pick one instance.`,
    [
      `2 * ${alerts('firing')}\nor ${alerts('pending')}\n${otherwise(0, { alertname: 'no alerts' })}`,
      '{{alertname}} {{severity}}',
    ],
  ),
  stack(
    'Errors by Route',
    'reqps',
    `5xx responses per second by method, route and status code. Empty is good. Look at Drill first,
    then for one method that fails. The dots of HTTP Request Duration, Quantiles, with this
    status_code are failed requests.`,
    [`sum by (method, path, status_code) (${requests(FAILED)}) > 0`, ANSWER],
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
      `50, 90 and 99 of 100 requests take at most this long. Look for a p99 above the line at 10 ms
      while p50 stays low: a few requests are slow, because of large objects, slow clients or a
      blocked event loop. Each dot is one slow or failed request. Point at it, and find its
      request_id in the log.`,
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
    `Requests per second by duration. Look for a second band above the first one: some requests take
    longer, for example those of large objects, or they wait.`,
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
    `Requests per second that are rejected before routing, by reason. Empty is good. Look for one
    reason that dominates: a client or a proxy does not send valid HTTP/1.1, or is too slow.`,
    [`sum by (reason) (${rate('http_requests_rejected_total')}) > 0`, '{{reason}}'],
  )
    .colorScheme(part(inShades('orange')))
    .noValue('none rejected'),
  stack(
    'Request Rate by Route',
    'reqps',
    `Requests per second by method and route. Look for the route that causes a change in the graphs
    above. unmatched are paths without a route, mostly from scanners.`,
    [`sum by (method, path) (${requests()}) > 0`, ROUTE],
  ).noValue('no requests'),
  graph(
    'Requests in Flight',
    'short',
    `Requests that have begun and have no complete response yet. Look for a line that only grows:
    clients stall, or the event loop is blocked.`,
    gauge('http_requests_in_flight'),
  ).axisSoftMax(5),
)

heading('Objectives', true)
line(
  9,
  shareGraph(
    'Failed Requests',
    'failed',
    `The share of responses under /api that are 5xx, in windows of 5 minutes and 1 hour. The line is
    the objective of 0.1 %. Look for 1h above the line. A peak of 5m alone is harmless.`,
  ),
  shareGraph(
    'Slow Requests',
    'slow',
    `The share of responses under /api that took more than 10 ms, in windows of 5 minutes and 1
    hour. The line is the objective of 1 %. Look for 1h above the line. A peak of 5m alone is
    harmless.`,
  ),
)
line(
  9,
  burnGraph(
    'Error Budget Burn Rate',
    'failed',
    `How fast 5xx spend the error budget. At 1 it lasts 30 days, at 14.4 it lasts 2 days. Look for
    1h and 5m both above 14.4, or 6h and 30m both above 6: these page. Above 3 for a day, or above 1
    for three days, is a ticket.`,
  ),
  burnGraph(
    'Latency Budget Burn Rate',
    'slow',
    `How fast slow requests spend the latency budget. At 1 it lasts 30 days, at 14.4 it lasts 2
    days. Look for 1h and 5m both above 14.4, or 6h and 30m both above 6: these page. Above 3 for a
    day, or above 1 for three days, is a ticket.`,
  ),
)
line(
  9,
  limit(
    ofObjectives(
      'Budgets Left',
      'percentunit',
      `The share of the budgets of 30 days that is left. Look for the point where a line begins to
      fall, and for a restart or a drill at that time.`,
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
    `The number of stored objects. Look for a fall to zero at a restart: the memory engine loses all
    objects.`,
    gauge('storage_objects'),
  ),
  graph(
    'Bytes',
    'bytes',
    `Memory of objects, ids, bookkeeping and uploads in progress. The limit is MAX_STORE_BYTES. Look
    for the line of used bytes near the limit: a PUT that does not fit gets 507. Small objects also
    get 507 when they fill their quarter of V8's heap.`,
    gauge('storage_bytes', 'used'),
    gauge('storage_bytes_limit', 'limit'),
  ).overrideByRegexp('/^limit/', LIMIT_LINE),
  stack(
    'Operations',
    'ops',
    `Store operations per second by operation and outcome. Look for full (the client got 507), for
    error (the engine failed), and for more misses than hits.`,
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
    `1 if an instance reaches its engine over the network, 0 if it does not. Look for 0: every
    request under /api gets 503. If one instance is at 0, suspect the network. If all are at 0, the
    engine is down. The memory engine has no line.`,
    gauge('storage_engine_up'),
  )
    .axisSoftMax(1)
    .noValue('no engine over a network'),
  graph(
    'Engine Duration',
    's',
    `The p99 duration of operations on the engine, by operation. It is rough, because the buckets
    are 1, 10, 100 ms and 1 s. Look for a rise at the same time as the request durations: the engine
    is slow, not the service.`,
    [
      `histogram_quantile(0.99, sum by (operation, le) (${rate('storage_engine_duration_seconds_bucket')})) >= 0`,
      '{{operation}}',
    ],
  ).noValue('no operations over a network'),
  graph(
    'Engine Queue',
    's',
    `99 of 100 operations wait at most this long in the service, by operation. Look for a rise of
    get and put: large objects fill the network to the engine. After 4 seconds in the queue they are
    rejected with 503.`,
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
    `Processor time. 100 % is one core. Look for 100 %: JavaScript runs on one thread, so requests
    begin to wait.`,
    [rate('process_cpu_seconds_total'), '{{instance}}'],
  ),
  graph(
    'Resident Memory',
    'bytes',
    `Memory of the process, with the stored objects. Look for growth that Bytes does not explain. At
    the memory limit of the container, the kernel kills the process.`,
    gauge('process_resident_memory_bytes'),
  ),
  graph(
    'Heap',
    'bytes',
    `V8's heap. It holds ids and bookkeeping, but not the bytes of objects. Look for use that falls
    less with each garbage collection: a leak, or many small objects.`,
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
      `The duration of a timer of 10 ms, so 10 ms means an idle event loop. Look for a p99 above the
      line at 100 ms: something blocks the loop, and every request waits that long.`,
      gauge('nodejs_eventloop_lag_mean_seconds', 'mean'),
      gauge('nodejs_eventloop_lag_p99_seconds', 'p99'),
    ),
    [0.1, 'red'],
  ),
  stack(
    'Garbage Collection',
    'percentunit',
    `The share of time spent on garbage collection, by kind. Look for major above a few percent: the
    heap is near its limit.`,
    [`sum by (kind) (${rate('nodejs_gc_duration_seconds_sum')}) > 0`, '{{kind}}'],
  ).noValue('no collections'),
  graph(
    'Open File Descriptors',
    'short',
    `Open connections and a few files. Look for growth without traffic: clients leave connections
    open. At the limit of the process, nobody else can connect.`,
    gauge('process_open_fds'),
  ),
)
line(
  9,
  graph(
    'Connections',
    'short',
    `Open connections, and connections that the server closes per second, by reason. Look for limit:
    MAX_CONNECTIONS are open, and the server closes idle ones to accept new ones.`,
    gauge('http_connections', 'open'),
    [
      `sum by (instance, reason) (${rate('http_connections_closed_total')})`,
      'closed per second, {{reason}}, {{instance}}',
    ],
  ),
  graph(
    'Uptime',
    'dthms',
    `The time since the start of the process. Look for a fall that no deployment explains: the
    memory engine has lost all objects.`,
    [`time() - ${select('process_start_time_seconds')}`, '{{instance}}'],
  ),
  figure(
    'Builds',
    'none',
    `The release that each instance runs. Look for two revisions: a deployment is in progress, or is
    stuck.`,
    [
      select('storage_api_build_info'),
      '{{instance}}: {{version}} ({{revision}}), Node.js {{node_version}}, {{engine}}',
    ],
  ).textMode(common.BigValueTextMode.Name),
)

/** A link to a panel. It keeps the variables and the time range. */
const graphLink = ({ title = '', id }: sdk.Panel) =>
  link(title, `/d/storage-api?\${__all_variables}&\${__url_time_range}&viewPanel=panel-${id}`)

for (const panel of panels) {
  const to = LEADS_TO[panel.title ?? ''] ?? ''
  const target = panels.find(({ title }) => title === to)
  if (target === undefined && !RUNBOOKS.includes(to)) throw new Error(`LEADS_TO lacks "${panel.title}"`)
  panel.links = [(target === undefined ? runbookLink(to) : graphLink(target)).build()]
}

/** A variable with the values of a label. */
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
  .description('Requests, latency, objects and objectives of the Storage API')
  .tags(['storage-api', 'prometheus'])
  .readonly()
  .tooltip(sdk.DashboardCursorSync.Crosshair)
  .refresh('5s')
  // The quick start sends three minutes of traffic, which fill more than half. Links of alerts set
  // a longer range.
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
    // The value is the time of the start in milliseconds, which is more exact than the time of the
    // scrape.
    annotation('Start of {{instance}}', 'blue', `1000 * ${select('process_start_time_seconds')}`, true),
    annotation('Drill of {{job}}', 'red', `sum by (job) (${select('storage_api_faults')}) > 0`, false),
  ])

console.log(JSON.stringify(dashboard.build(), null, 2))

import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import type { Dataquery } from '@grafana/grafana-foundation-sdk/prometheus'
import type {
  AnnotationQuery,
  Dashboard,
  DataQuery,
  FieldConfig,
  FieldConfigSource,
  GridPos,
  Panel,
  RowPanel,
  VariableModel,
} from '@grafana/schema'
import type {
  FieldConfig as HeatmapFieldConfig,
  Options as HeatmapOptions,
} from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen'
import type { Options as StatOptions } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen'
import type {
  FieldConfig as TimelineFieldConfig,
  Options as TimelineOptions,
} from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen'
import type {
  FieldConfig as GraphFieldConfig,
  Options as GraphOptions,
} from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen'
import type { SyntaxNode } from '@lezer/common'
import { parser } from '@prometheus-io/lezer-promql'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { build } from '../helper.ts'
import { lacking, outputOf, run } from '../process.ts'

const JSON_FILE = 'compose/grafana/dashboards/storage-api.json'
const RUNBOOKS_FILE = 'compose/grafana/dashboards/storage-api-runbooks.json'

/** The JSON form of a type: the members of an enumeration become their values. */
type Json<T> = T extends string
  ? `${T}`
  : T extends (infer E)[]
    ? Json<E>[]
    : T extends object
      ? { [K in keyof T]: Json<T[K]> }
      : T

interface Source {
  datasource: { type: 'prometheus'; uid: '${datasource}' }
}

/**
 * A query of Prometheus. `@grafana/schema` has the panels of Grafana 13.2, but not these queries.
 */
type Query = Omit<DataQuery, 'datasource'> &
  Omit<Dataquery, keyof DataQuery | '_implementsDataqueryVariant'> &
  Source

type Loose = 'type' | 'datasource' | 'targets' | 'options' | 'fieldConfig'

interface Graphic<Type extends string, Options, Custom> extends Omit<Panel, Loose>, Source {
  type: Type
  id: number
  gridPos: GridPos
  title: string
  description: string
  targets: Query[]
  options: Options
  fieldConfig: Pick<FieldConfigSource, 'overrides'> & {
    defaults: Omit<FieldConfig, 'custom' | 'unit'> & { unit: string; custom?: Custom }
  }
}

type Graphics =
  | Graphic<'timeseries', GraphOptions, GraphFieldConfig>
  | Graphic<'heatmap', HeatmapOptions, HeatmapFieldConfig>
  | Graphic<'stat', StatOptions, Record<string, never>>
  | Graphic<'state-timeline', TimelineOptions, TimelineFieldConfig>

/** A row. If it is collapsed, it holds its panels. */
type Row = Omit<RowPanel, 'gridPos' | 'panels'> & { title: string; gridPos: GridPos; panels: Graphics[] }

/**
 * The dashboard's JSON for Grafana 13.2. `Dashboard` allows any options and queries of panels. The
 * Prometheus data source adds `definition`, `titleFormat` and `useValueForTime`.
 */
export type DashboardJson = Json<
  Omit<Dashboard, 'schemaVersion' | 'panels' | 'templating' | 'annotations'> & {
    schemaVersion: 42
    panels: (Graphics | Row)[]
    templating: { list: (VariableModel & { definition?: string })[] }
    annotations: {
      list: (Omit<AnnotationQuery<never>, 'target' | 'datasource'> &
        Source & { target: Query; titleFormat: string; useValueForTime: boolean })[]
    }
  }
>

const committed = readFileSync(JSON_FILE, 'utf8')
const dashboard: DashboardJson = JSON.parse(committed)
const [source] = parse(
  readFileSync('compose/grafana/provisioning/datasources/prometheus.yaml', 'utf8'),
).datasources
const rows = dashboard.panels.filter((panel) => panel.type === 'row')
const panels = dashboard.panels.flatMap((panel) => (panel.type === 'row' ? panel.panels : [panel]))
const queries = [
  ...panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ of: title, expr }))),
  ...dashboard.annotations.list.map(({ name, target }) => ({ of: name, expr: target.expr })),
]

/** Replaces `$__rate_interval`, which is not PromQL. */
const RATE_INTERVAL = '7m'

/** Makes a query PromQL. Grafana's variables in quotes are PromQL already. */
const promql = (expr: string) => expr.replaceAll('$__rate_interval', RATE_INTERVAL)

/** The nodes of a query's syntax tree that have a name, each with its text. */
function nodes(expr: string, name: string): { node: SyntaxNode; text: string }[] {
  const found: { node: SyntaxNode; text: string }[] = []
  const text = promql(expr)
  parser.parse(text).iterate({
    enter: ({ type, node }) => {
      if (name === '⚠' ? type.isError : type.name === name)
        found.push({ node, text: text.slice(node.from, node.to) })
    },
  })
  return found
}

const panelOf = (title: string) => panels.find((panel) => panel.title === title) as Graphics
const targetOf = (title: string) => panelOf(title)?.targets[0] as Json<Query>
const figures = panels.filter((panel) => panel.type === 'stat')
const graphs = panels.filter((panel) => panel.type === 'timeseries')

const skip = lacking('promtool')

/** The names of the metrics on the page, and whether they only grow, as `rate` requires. */
async function pageMetrics(t: Test): Promise<Map<string, boolean>> {
  // An engine over a network has more metrics than the memory engine. It need not be running.
  const apps = [build(t), build(t, { STORAGE_URL: 'redis://127.0.0.1:1' })]
  const growing = new Map<string, boolean>()
  for (const app of apps) {
    await app.ready()
    for (const [, name, type] of (await app.registry.metrics()).matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
      const suffixes = type === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']
      for (const suffix of suffixes) growing.set(name + suffix, type !== 'gauge')
    }
  }
  // The client library counts file descriptors on Linux only.
  if (process.platform !== 'linux') growing.set('process_open_fds', false)
  return growing
}

t.test('the committed dashboards are what their sources make', async (t) => {
  for (const [file, source] of [
    [JSON_FILE, 'compose/grafana/dashboard.ts'],
    [RUNBOOKS_FILE, 'compose/grafana/runbooks.ts'],
  ] as const) {
    const made = await outputOf([process.execPath, source])
    t.strictSame(JSON.parse(readFileSync(file, 'utf8')), JSON.parse(made), 'npm run dashboard')
  }
})

t.test('the dashboard is found by its name, refreshes itself, and is not for editing', async (t) => {
  t.hasStrict(dashboard, {
    uid: 'storage-api',
    title: 'Storage API',
    editable: false,
    refresh: '5s',
    time: { from: 'now-5m', to: 'now' },
    graphTooltip: 1,
  })
})

t.test('what the quick start sends fills more than half of a graph', async (t) => {
  const [, seconds] = /^DURATION=.*:-(\d+)/m.exec(readFileSync('scripts/generate_traffic.sh', 'utf8')) ?? []
  const [, minutes] = /^now-(\d+)m$/.exec(dashboard.time?.from ?? '') ?? []
  t.ok(Number(seconds) > (60 * Number(minutes)) / 2, `${seconds} s of ${minutes} min`)
})

t.test("the JSON is of the types of Grafana's schema", async (t) => {
  const wrong: Record<string, [right: string, wrong: string]> = {
    enumeration: ['"mode": "normal"', '"mode": "sideways"'],
    option: ['"rowHeight"', '"rowHigh"'],
    query: ['"legendFormat"', '"legend"'],
    version: ['"schemaVersion": 42', '"schemaVersion": 1'],
    annotation: ['"iconColor"', '"color"'],
  }
  const directory = t.testdir()
  const [type, config] = [import.meta.filename, 'tsconfig.json'].map((path) => relative(directory, path))
  const typed = (json: string) =>
    `import type { DashboardJson } from '${type}'\nexport const it: DashboardJson = ${json}`
  const files = Object.entries(wrong).map(([name, change]) => [
    `${name}.ts`,
    typed(committed.replace(...change)),
  ])
  t.testdir({
    'tsconfig.json': JSON.stringify({ extends: config, include: ['*.ts'] }),
    'committed.ts': typed(committed),
    ...Object.fromEntries(files),
  })
  const { stdout } = await run(['node_modules/.bin/tsc', '--project', relative('.', directory)])
  const errors = [...stdout.matchAll(/^\S*?([a-z]+)\.ts\(.*/gm)]
  t.strictSame(
    errors.filter(([, name]) => name === 'committed').map(([error]) => error),
    [],
  )
  t.strictSame(new Set(errors.map(([, name]) => name)), new Set(Object.keys(wrong)), 'what is wrong is told')
})

t.test('the first two graphs are those that the exercise asks for', async (t) => {
  const graphs = panels.filter(({ type }) => type !== 'stat')
  t.strictSame(
    graphs.slice(0, 2).map(({ title }) => title),
    ['Average HTTP Request Duration', 'HTTP Status Codes'],
  )
  const [left, right] = graphs.map(({ gridPos }) => gridPos)
  t.equal(left?.y, right?.y, 'side by side')
  for (const { title, gridPos } of graphs.slice(0, 2)) {
    t.equal(gridPos.w, 12, `${title}: half of the page`)
    t.ok(gridPos.h >= 10, `${title}: high enough for a legend of three lines`)
  }
})

t.test('durations have a line for each method and route, and no more', async (t) => {
  const { expr, legendFormat } = targetOf('Average HTTP Request Duration')
  t.equal(legendFormat, '{{method}} {{path}}')
  for (const { text } of nodes(expr, 'AggregateModifier')) t.equal(text, 'by (method, path)')
})

t.test('every panel has a title, a description that says what to look for, and a unit', async (t) => {
  for (const { id, title, description, fieldConfig } of panels) {
    t.match(title, /\S/, `panel ${id}`)
    t.match(description, /\. Look .*\.$/, title)
    t.match(fieldConfig.defaults.unit, /\S/, title)
  }
})

t.test(
  'panels have ids of their own, and places of their own on 24 columns, wide enough to read',
  async (t) => {
    const ids = [...rows, ...panels].map(({ id }) => id)
    t.equal(new Set(ids).size, ids.length)
    const taken = new Map<string, string>()
    // When a collapsed row is opened, it moves the panels below it down.
    const collapsed = rows.map(({ panels }) => panels)
    for (const { type, title = '', gridPos, in: area } of [
      ...dashboard.panels.map((panel) => ({ ...panel, in: 0 })),
      ...collapsed.flatMap((panels, row) => panels.map((panel) => ({ ...panel, in: row + 1 }))),
    ]) {
      const { x, y, w, h } = gridPos
      t.ok(x >= 0 && y >= 0 && h > 0 && x + w <= 24, `${title}: ${JSON.stringify(gridPos)}`)
      t.ok(w >= (type === 'stat' ? 4 : 8), `${title}: ${w} columns`)
      for (let cell = 0; cell < w * h; cell++) {
        const place = `${area}: ${x + (cell % w)}, ${y + Math.floor(cell / w)}`
        if (taken.has(place)) t.fail(`${title} and ${taken.get(place)} overlap at ${place}`)
        taken.set(place, title)
      }
    }
  },
)

t.test('every query and every panel has the data source of the variable, which is provisioned', async (t) => {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana's own placeholder
  const expected = { type: 'prometheus', uid: '${datasource}' }
  for (const { title, datasource, targets } of panels) {
    for (const one of [datasource, ...targets.map(({ datasource }) => datasource)])
      t.strictSame(one, expected, title)
  }
  for (const { name, datasource, target } of dashboard.annotations.list) {
    t.strictSame([datasource, target.datasource], [expected, expected], name)
  }
  const [variable] = dashboard.templating.list
  t.hasStrict(variable, { name: 'datasource', type: 'datasource', query: 'prometheus' })
  const { text, value } = variable?.current ?? {}
  t.hasStrict(source, { type: 'prometheus', uid: value, name: text })
})

t.test('only a graph of durations shows exemplars, and its query selects buckets', async (t) => {
  const shown = panels.flatMap(({ title, targets }) =>
    targets.filter(({ exemplar }) => exemplar).map(({ expr }) => ({ title, expr })),
  )
  t.strictSame(
    shown.map(({ title }) => title),
    ['HTTP Request Duration, Quantiles'],
  )
  for (const { title, expr } of shown) {
    const selected = nodes(expr, 'VectorSelector').map(({ text }) => text.replace(/\{.*/, ''))
    t.strictSame(selected, ['http_request_duration_seconds_bucket'], title)
  }
})

t.test('the trace of an exemplar leads to where the operator says', async (t) => {
  const [destination] = source.jsonData.exemplarTraceIdDestinations
  t.match(destination, { name: 'trace_id', url: '$GRAFANA_TRACE_URL' })
  const { services } = parse(readFileSync('compose/grafana/compose.yaml', 'utf8'))
  t.ok('GRAFANA_TRACE_URL' in services.grafana.environment)
})

t.test('every query is PromQL, to its grammar', async (t) => {
  for (const { of, expr } of queries) t.strictSame(nodes(expr, '⚠'), [], `${of}: ${expr}`)
})

t.test('every query is PromQL, to promtool', { skip }, async (t) => {
  const rules = queries.map(({ expr }, i) => ({ record: `dashboard:query:${i}`, expr: promql(expr) }))
  const directory = t.testdir({
    'rules.json': JSON.stringify({ groups: [{ name: 'dashboard', rules }] }),
  })
  const promtool = await run(['promtool', 'check', 'rules', join(directory, 'rules.json')])
  t.equal(promtool.status, 0, promtool.stderr)
})

t.test('every metric is on the page, recorded, an alert, or of Prometheus itself', async (t) => {
  const rules = readFileSync('compose/prometheus/rules.yml', 'utf8')
  const recorded = [...rules.matchAll(/^\s*- record: (\S+)$/gm)].map(([, name]) => name)
  const known = new Set([...(await pageMetrics(t)).keys(), ...recorded, 'ALERTS', 'up'])
  for (const { of, expr } of queries) {
    t.not(nodes(expr, 'VectorSelector').length, 0, of)
    for (const { node, text } of nodes(expr, 'VectorSelector')) {
      const name = node.getChild('Identifier')
      t.ok(name && known.has(text.slice(0, name.to - node.from)), `${of}: ${text}`)
    }
  }
})

t.test('every selector is of the job and the instance that are picked', async (t) => {
  for (const { of, expr } of queries) {
    for (const { node, text } of nodes(expr, 'VectorSelector')) {
      const matchers = node.getChild('LabelMatchers')?.getChildren('UnquotedLabelMatcher') ?? []
      const texts = matchers.map(({ from, to }) => text.slice(from - node.from, to - node.from))
      // Alerts about all instances have no label `instance`. Budgets are about all instances and
      // say so.
      const instance = text.startsWith('ALERTS') ? 'instance=~"$instance|"' : 'instance=~"$instance"'
      const isOfAll = of.endsWith(' Budget') && texts.length === 1
      for (const matcher of ['job=~"$job"', ...(isOfAll ? [] : [instance])]) {
        t.ok(texts.includes(matcher), `${of}: ${matcher} in ${text}`)
      }
    }
  }
  for (const { name, allValue, multi, includeAll } of dashboard.templating.list.slice(1)) {
    t.strictSame({ allValue, multi, includeAll }, { allValue: '.*', multi: true, includeAll: true }, name)
  }
})

t.test('every range is $__rate_interval, and every rate is of what only grows', async (t) => {
  const growing = await pageMetrics(t)
  for (const { of, expr } of queries) {
    for (const { node, text } of nodes(expr, 'MatrixSelector')) {
      t.ok(text.endsWith(`[${RATE_INTERVAL}]`), `${of}: ${text}`)
      const name = text.slice(0, text.indexOf('{'))
      t.ok(growing.get(name), `${of}: the rate of ${name}`)
      t.equal(node.parent?.parent?.getChild('FunctionIdentifier')?.firstChild?.name, 'Rate', of)
    }
    t.strictSame(nodes(expr, 'SubqueryExpr'), [], of)
  }
})

t.test('quantiles are of buckets that were added up, never of quantiles, and never NaN', async (t) => {
  const quantiles = queries.flatMap(({ of, expr }) =>
    nodes(expr, 'FunctionCall')
      .filter(({ text }) => text.startsWith('histogram_quantile('))
      .map((call) => ({ ...call, of })),
  )
  t.equal(quantiles.length, 6)
  for (const { of, node, text } of quantiles) {
    t.match(text, /^histogram_quantile\([\d.]+, sum by \((operation, )?le\) \(rate\(/, of)
    const comparison = node.parent
    t.ok(comparison?.name === 'BinaryExpr' && comparison.getChild('Gte'), `${of}: idle is no NaN`)
    t.notOk(comparison?.parent?.parent, `${of}: the whole query`)
  }
})

t.test(
  'what is about trouble is above what is about machinery, and what few need is collapsed',
  async (t) => {
    t.strictSame(
      rows.map(({ title, collapsed }) => [title, collapsed]),
      [
        ['Now', false],
        ['Requests', false],
        ['Alerts, Errors and Latency', false],
        ['Objectives', true],
        ['Store', false],
        ['Engine', true],
        ['Process and Node.js', true],
      ],
    )
  },
)

/**
 * The page in Grafana 12.4 at 1440 x 900 pixels, with a docked menu and the variables on two lines.
 */
const PAGE = { width: 1108, height: 900, top: 184, row: 38, gap: 8 }
/** The head of a panel in Grafana 13. Only the title may be cut. Each link has an icon. */
const HEAD = { rest: 112, icon: 32, character: 7.6 }

t.test('what matters is on two screens', async (t) => {
  const first = rows.find(({ collapsed }) => collapsed)
  t.ok(PAGE.top + PAGE.row * Number(first?.gridPos.y) <= 2 * PAGE.height, `${first?.title}`)
})

t.test('titles are not cut', async (t) => {
  for (const { title, gridPos, links = [] } of panels) {
    const width = ((PAGE.width + PAGE.gap) / 24) * gridPos.w - PAGE.gap
    const room = width - HEAD.rest - HEAD.icon * links.length
    t.ok(HEAD.character * title.length <= room, `${title}: ${room} pixels`)
  }
})

t.test('the first figure is whether the service is up, and is never empty', async (t) => {
  const [first] = figures
  t.equal(first?.title, 'Instances Up')
  t.strictSame(first?.gridPos, { x: 0, y: 1, w: 6, h: 3 })
  const { expr, legendFormat } = targetOf('Instances Up')
  t.match(expr, /\nor on \(\) .*vector\(0\).*$/)
  t.equal(legendFormat, '{{up}} of {{expected}}')
  t.strictSame(first?.fieldConfig.defaults.thresholds?.steps, [
    { value: null, color: 'red' },
    { value: 1, color: 'green' },
  ])
})

t.test('figures tell what is up, what fires, and what is of all instances', { skip }, async (t) => {
  const SERIES = {
    'up{job="storage_api",instance="a"}': 1,
    'up{job="storage_api",instance="b"}': 0,
    'up{job="prometheus",instance="c"}': 1,
    'job:http_requests_failed:ratio_rate30d{job="storage_api"}': 0.0005,
    'ALERTS{alertname="StorageApiErrorBudgetBurn",alertstate="firing",job="storage_api",severity="page"}': 1,
  }
  const test = (
    series: Record<string, number>,
    instance: string,
    shown: Record<string, [string, number]>,
  ) => ({
    input_series: Object.entries(series).map(([series, value]) => ({ series, values: `${value}x9` })),
    promql_expr_test: Object.entries(shown).map(([title, [labels, value]]) => ({
      expr: targetOf(title).expr.replaceAll('$job', '.*').replaceAll('$instance', instance),
      eval_time: '5m',
      exp_samples: [{ labels, value }],
    })),
  })
  const tests = [
    test(SERIES, '.*', {
      'Instances Up': ['{up="1", expected="2"}', 0.5],
      'Error Budget': ['{}', 0.5],
      Alerts: ['{}', 1],
      'Alerts over Time': ['{alertname="StorageApiErrorBudgetBurn", severity="page"}', 2],
    }),
    test(SERIES, 'a', {
      'Instances Up': ['{up="1", expected="1"}', 1],
      'Error Budget': ['{}', 2],
      Alerts: ['{}', 1],
    }),
    test(SERIES, 'b', { 'Instances Up': ['{up="0", expected="1"}', 0] }),
    test({ 'up{job="prometheus"}': 1 }, '.*', {
      'Instances Up': ['{up="0", expected="0"}', 0],
      Alerts: ['{}', 0],
      'Alerts over Time': ['{alertname="no alerts"}', 0],
    }),
  ]
  const directory = t.testdir({ 'tests.json': JSON.stringify({ tests }) })
  const promtool = await run(['promtool', 'test', 'rules', join(directory, 'tests.json')])
  t.equal(promtool.status, 0, promtool.stdout + promtool.stderr)
})

t.test('a figure without data is of a neutral color, and says why', async (t) => {
  for (const { title, targets, options, fieldConfig } of figures) {
    const { thresholds, noValue } = fieldConfig.defaults
    if (title !== 'Instances Up') t.match(thresholds?.steps[0]?.color, /^(text|gray)$/, title)
    // Grafana does not replace the text of a name. Queries with a vector always return something.
    const isIgnored = options.textMode === 'name' || /\bvector\(/.test(targets[0]?.expr ?? '')
    t.equal(noValue === undefined, isIgnored, `${title}: ${noValue}`)
  }
})

t.test('a timeline has no text for no data, because Grafana ignores it', async (t) => {
  for (const { type, title, fieldConfig } of panels)
    if (type === 'state-timeline') t.equal(fieldConfig.defaults.noValue, undefined, title)
})

t.test('objectives say that they are of all instances where one is picked', async (t) => {
  for (const { title, targets, fieldConfig } of panels) {
    const { noValue, mappings } = fieldConfig.defaults
    if (!targets.every(({ expr }) => expr.includes('job:'))) continue
    if (targets[0]?.instant) {
      t.match(targets[0].expr, /\nor 0 \* .* \+ 2$/, title)
      const result = { text: 'all instances only', color: 'text' }
      t.strictSame(mappings, [{ type: 'range', options: { from: 2, to: 2, result } }], title)
    } else t.match(noValue, /one instance is picked/, title)
  }
})

t.test('a stack is of what occurred, without lines: that of a zero would cover all', async (t) => {
  const stacks = graphs.filter(({ fieldConfig }) => fieldConfig.defaults.custom?.stacking?.mode === 'normal')
  t.not(stacks.length, 0)
  for (const { title, targets, fieldConfig } of stacks) {
    for (const { expr } of targets) t.match(expr, /\) > 0$/, title)
    t.match(fieldConfig.defaults.custom, { lineWidth: 0, fillOpacity: 80 }, title)
    t.ok(fieldConfig.defaults.noValue, `${title} says what no data means`)
  }
})

t.test('status codes have the color of their class, and errors are never green', async (t) => {
  const shades = (fixedColor: string) => ({ mode: 'shades', fixedColor })
  const colors = ({ fieldConfig }: Graphics) =>
    fieldConfig.overrides.flatMap(({ matcher, properties }) =>
      properties.flatMap(({ id, value }) => (id === 'color' ? [[matcher.options, value]] : [])),
    )
  t.strictSame(colors(panelOf('HTTP Status Codes')), [
    ['/^2/', shades('green')],
    ['/^3/', shades('blue')],
    ['/^4/', shades('yellow')],
    ['/^5/', shades('red')],
  ])
  t.strictSame(colors(panelOf('Operations')), [['/ (full|error)$/', shades('red')]])
  for (const [title, color] of [
    ['Errors by Route', 'red'],
    ['Rejected Requests', 'orange'],
    ['Failed Requests', 'orange'],
    ['Slow Requests', 'orange'],
  ] as const)
    t.strictSame(panelOf(title).fieldConfig.defaults.color, shades(color), title)
})

t.test('a limit is a dashed line without a fill, and the share of it is a figure', async (t) => {
  t.match(panelOf('Bytes').fieldConfig.overrides, [
    {
      matcher: { id: 'byRegexp', options: '/^limit/' },
      properties: [
        { id: 'custom.lineStyle', value: { fill: 'dash' } },
        { id: 'custom.fillOpacity', value: 0 },
        { id: 'color', value: { mode: 'fixed', fixedColor: 'red' } },
      ],
    },
  ])
  t.match(targetOf('Store Used').expr, /storage_bytes\{.*\} \/ storage_bytes_limit\{/)
})

t.test('axes suit what is usual', async (t) => {
  t.match(panelOf('Requests in Flight').fieldConfig.defaults.custom, { axisSoftMax: 5 })
  t.equal(panelOf('Uptime').fieldConfig.defaults.unit, 'dthms')
})

t.test('an engine that is not there says so', async (t) => {
  for (const { title, fieldConfig } of panels)
    if (title.startsWith('Engine')) t.match(fieldConfig.defaults.noValue, /over a network$/, title)
})

t.test('alerts have a line, a legend and no pager, and none is green', async (t) => {
  const { options, fieldConfig } = panelOf('Alerts over Time')
  t.match(options, { perPage: 0, legend: { showLegend: true } })
  t.match(fieldConfig.defaults, {
    color: { mode: 'fixed' },
    mappings: [
      { options: { from: 0, to: 0, result: { color: 'green' } } },
      { options: { from: 1, to: 1, result: { text: 'pending', color: 'orange' } } },
      { options: { from: 2, to: 2, result: { text: 'firing', color: 'red' } } },
    ],
  })
  t.match(
    targetOf('Alerts over Time').expr,
    /\nor on \(\) label_replace\(vector\(0\), "alertname", "no alerts", "", ""\)$/,
  )
})

/** The title of the panel to which a link leads. */
function target(url: string): string | undefined {
  const { pathname, searchParams } = new URL(url.replaceAll(/\$\{\w+\}&/g, ''), 'http://localhost')
  const files: Record<string, string> = {
    '/d/storage-api': JSON_FILE,
    '/d/storage-api-runbooks': RUNBOOKS_FILE,
  }
  const { panels } = JSON.parse(readFileSync(files[pathname] ?? '', 'utf8')) as Pick<DashboardJson, 'panels'>
  const all = panels.flatMap((panel) => [panel, ...(panel.type === 'row' ? panel.panels : [])])
  return all.find(({ id }) => `panel-${id}` === searchParams.get('viewPanel'))?.title
}

t.test('every panel leads to a graph or to a runbook', async (t) => {
  for (const { title, links = [] } of panels) {
    t.equal(links.length, 1, title)
    for (const { title: label, url = '' } of links) {
      t.equal(target(url), label, `${title}: ${url}`)
      t.not(label, title, `${title} leads to itself`)
      if (!url.startsWith('/d/storage-api-runbooks?'))
        t.match(url, /\?\$\{__all_variables\}&\$\{__url_time_range\}&/, `${title} keeps variables and range`)
    }
  }
  t.match(dashboard.links, [{ title: 'Runbooks', url: /^\/d\/storage-api-runbooks\?/ }])
})

t.test('every alert leads to its runbook', async (t) => {
  const { groups } = parse(readFileSync('compose/prometheus/alerts.yml', 'utf8'))
  const names: string[] = groups.flatMap(({ rules }: { rules: { alert: string }[] }) =>
    rules.map(({ alert }) => alert),
  )
  for (const name of new Set(names)) {
    const { overrides } = panelOf('Alerts over Time').fieldConfig
    const [override] = overrides.filter(({ matcher }) => matcher.options === `/^${name} /`)
    const [link] = (override?.properties.find(({ id }) => id === 'links')?.value ?? []) as { url: string }[]
    t.equal(link && target(link.url), name)
  }
})

t.test('runbooks are texts that lead to each other', async (t) => {
  const { uid, panels } = JSON.parse(readFileSync(RUNBOOKS_FILE, 'utf8'))
  t.equal(uid, 'storage-api-runbooks')
  for (const { type, title, options } of panels) {
    t.equal(type, 'text')
    t.equal(options.mode, 'markdown')
    t.notMatch(options.content, /\]\([^/]/, `${title} leads out of Grafana`)
    for (const [, url = ''] of options.content.matchAll(/\]\(([^)]*)\)/g))
      t.ok(target(url), `${title}: ${url}`)
    t.notMatch(options.content, /\$\{?(datasource|job|instance|__\w+)\b/, `${title} has no variable`)
  }
})

t.test('Grafana asks nothing of the outside, and finds every folder of its provisioning', async (t) => {
  const ini = readFileSync('compose/grafana/grafana.ini', 'utf8')
  const sections = Object.fromEntries(
    ini.split(/^\[/m).map((section) => [section.slice(0, section.indexOf(']')), section]),
  )
  t.match(sections.plugins, /^public_key_retrieval_disabled = true$/m)
  t.match(sections.security, /^disable_gravatar = true$/m)
  t.match(sections.analytics, /^reporting_enabled = false\ncheck_for_updates = false$/m)
  for (const folder of ['alerting', 'dashboards', 'datasources', 'plugins']) {
    const names = readdirSync(`compose/grafana/provisioning/${folder}`)
    t.equal(names.length, 1, folder)
    for (const name of names) {
      const file = `compose/grafana/provisioning/${folder}/${name}`
      t.equal(parse(readFileSync(file, 'utf8')).apiVersion, 1, file)
    }
  }
})

t.test('people are led to the dashboard by its own address, where its name is right', async (t) => {
  for (const file of [
    'README.md',
    'scripts/generate_traffic.sh',
    'docs/kubernetes.md',
    'docs/runbooks/README.md',
  ]) {
    const text = readFileSync(file, 'utf8')
    t.match(text, /:3000\/d\/storage-api/, file)
    t.notMatch(text, /http:\/\/\S+:3000(?!\/d\/storage-api)/, file)
  }
})

t.test(
  'the picture tells which dashboard it shows, and the pages tell whether that is this one',
  async (t) => {
    const hash = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex')
    const shown = Object.fromEntries(
      readFileSync('docs/dashboard.sha256', 'utf8')
        .trim()
        .split('\n')
        .map((line) => line.split('  ').reverse()),
    )
    t.equal(
      shown['docs/dashboard.png'],
      hash('docs/dashboard.png'),
      'docs/dashboard.sha256 is of this picture',
    )
    const isEarlier = shown[JSON_FILE] !== hash(JSON_FILE)
    if (isEarlier) t.comment('docs/dashboard.png shows an earlier version of the dashboard')
    for (const file of ['README.md', 'docs/500s.md']) {
      const page = readFileSync(file, 'utf8').replace(/\s+/g, ' ')
      t.match(page, /!\[[^\]]+\]\((docs\/)?dashboard\.png\)/, file)
      t.equal(page.includes('The picture shows an earlier version of the dashboard.'), isEarlier, file)
    }
  },
)

t.test('the picture is quick to load, and as wide as the page that it shows', async (t) => {
  const png = readFileSync('docs/dashboard.png')
  t.ok(png.length < 400_000, `${png.length} bytes`)
  t.equal(png.readUInt32BE(16), 1440, 'pixels')
})

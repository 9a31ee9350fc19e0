import { readFileSync } from 'node:fs'
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

/** A type as JSON has it, where the members of an enumeration are their values. */
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

/** `@grafana/schema` has the panels of 13.2, but not the queries of Prometheus. */
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

/**
 * The dashboard's JSON as Grafana 13.2 wants it. `Dashboard` lets the options and queries of panels be anything;
 * `definition`, `titleFormat` and `useValueForTime` are the Prometheus data source's own.
 */
export type DashboardJson = Json<
  Omit<Dashboard, 'schemaVersion' | 'panels' | 'templating' | 'annotations'> & {
    schemaVersion: 42
    panels: (Graphics | (Omit<RowPanel, 'gridPos'> & { gridPos: GridPos }))[]
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
const panels = dashboard.panels.filter((panel) => panel.type !== 'row')
const queries = [
  ...panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ of: title, expr }))),
  ...dashboard.annotations.list.map(({ name, target }) => ({ of: name, expr: target.expr })),
]

/** Stands for `$__rate_interval`, which is no PromQL. */
const RATE_INTERVAL = '7m'

/** Grafana's variables in quotes are PromQL as they are. */
const promql = (expr: string) => expr.replaceAll('$__rate_interval', RATE_INTERVAL)

/** The nodes of a name in a query's syntax tree, each with its text. */
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

/** The names of the page's metrics, and whether they only grow: what `rate` is for. */
async function pageMetrics(t: Test): Promise<Map<string, boolean>> {
  // An engine over a network, which need not be there, has metrics that the memory has not.
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

t.test('the committed dashboard is what its source makes', async (t) => {
  const made = await outputOf([process.execPath, 'compose/grafana/dashboard.ts'])
  t.strictSame(dashboard, JSON.parse(made), 'npm run dashboard')
})

t.test('the dashboard is found by its name, refreshes itself, and is not for editing', async (t) => {
  t.hasStrict(dashboard, {
    uid: 'storage-api',
    title: 'Storage API',
    editable: false,
    refresh: '10s',
    time: { from: 'now-15m', to: 'now' },
    graphTooltip: 1,
  })
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
    const ids = dashboard.panels.map(({ id }) => id)
    t.equal(new Set(ids).size, ids.length)
    const taken = new Map<string, string>()
    for (const { type, title = '', gridPos } of dashboard.panels) {
      const { x, y, w, h } = gridPos
      t.ok(x >= 0 && y >= 0 && h > 0 && x + w <= 24, `${title}: ${JSON.stringify(gridPos)}`)
      t.ok(w >= (type === 'stat' ? 4 : 8), `${title}: ${w} columns`)
      for (let cell = 0; cell < w * h; cell++) {
        const place = `${x + (cell % w)}, ${y + Math.floor(cell / w)}`
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

t.test('the graphs that show exemplars select buckets, which have them', async (t) => {
  const shown = panels.flatMap(({ title, targets }) =>
    targets.filter(({ exemplar }) => exemplar).map(({ expr }) => ({ title, expr })),
  )
  t.strictSame(
    shown.map(({ title }) => title),
    ['HTTP Request Duration, Quantiles', 'Errors by Route'],
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

t.test('every query is PromQL, to promtool', { skip: lacking('promtool') }, async (t) => {
  const rules = queries.map(({ expr }, i) => ({ record: `dashboard:query:${i}`, expr: promql(expr) }))
  const directory = t.testdir({
    'rules.json': JSON.stringify({ groups: [{ name: 'dashboard', rules }] }),
  })
  const promtool = await run(['promtool', 'check', 'rules', join(directory, 'rules.json')])
  t.equal(promtool.status, 0, promtool.stderr)
})

t.test('every metric is on the page, recorded, or an alert', async (t) => {
  const rules = readFileSync('compose/prometheus/rules.yml', 'utf8')
  const recorded = [...rules.matchAll(/^\s*- record: (\S+)$/gm)].map(([, name]) => name)
  const known = new Set([...(await pageMetrics(t)).keys(), ...recorded, 'ALERTS'])
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
      for (const matcher of ['job=~"$job"', 'instance=~"$instance"']) {
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

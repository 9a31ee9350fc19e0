import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { compose, published } from './docker.ts'
import { eventually, query, type Sample } from './prometheus.ts'
import { requireTool } from './require-tool.ts'

requireTool('docker', 'compose', 'version')

const ALERT_WITHIN_SECONDS = 300
const FAST = 'ALERTS{alertname="StorageApiErrorBudgetBurn",long="1h"}'

await compose(['down', '--volumes', '--remove-orphans'])
await compose(['up', '--build', '--detach', '--wait', 'storage_api', 'prometheus'], {
  FAULTS: 'DELETE=500@1',
})
t.after(() => compose(['down', '--volumes']))
const prometheus = await published('prometheus', 9090)
const isThere = (samples: Sample[]) => samples.length > 0

const traffic = spawn('scripts/generate_traffic.sh', {
  env: { ...process.env, BASE_URL: await published('storage_api', 5000), DURATION: '86400' },
  stdio: 'ignore',
  detached: true,
})
traffic.unref()
t.after(() => void process.kill(-(traffic.pid as number)))

/** The blocks of PromQL in a page of the documentation, in their order. */
function queriesIn(page: string): string[] {
  return [...readFileSync(page, 'utf8').matchAll(/^```promql\n(.*?)^```/gms)].map(([, promql = '']) => promql)
}

t.test('the fast alert of availability is there within 5 minutes, and says how bad it is', async (t) => {
  const started = performance.now()
  const samples = await eventually(() => query(prometheus, FAST), isThere, ALERT_WITHIN_SECONDS)
  t.comment(`${samples[0]?.metric.alertstate} after ${Math.round((performance.now() - started) / 1000)} s`)
  t.match(samples[0]?.metric, { alertstate: /^(pending|firing)$/, severity: 'page' })
  interface Alert {
    labels: Record<string, string>
  }
  const { data } = (await (await fetch(`${prometheus}/api/v1/alerts`)).json()) as {
    data: { alerts: Alert[] }
  }
  t.match(
    data.alerts.find(({ labels }) => labels.long === '1h'),
    { annotations: { description: /^\d+(\.\d+)?% of the answers under \/api were 5xx in the last 1h/ } },
  )
})

t.test('the first query of its runbook names the cause', async (t) => {
  const [first = ''] = queriesIn('docs/runbooks/StorageApiErrorBudgetBurn.md')
  const [worst] = await query(prometheus, first)
  t.match(worst?.metric, { method: 'DELETE', path: '/api/buckets/:id', status_code: '500' })
})

t.test('three queries lead from the 500s to every successful DELETE', async (t) => {
  const [which = '', what = '', became = ''] = queriesIn('docs/500s.md')
  const routes = await query(prometheus, which)
  t.match(
    routes.map(({ metric }) => metric),
    [{ method: 'DELETE', path: '/api/buckets/:id', status_code: '500' }],
  )
  t.equal(routes.length, 1)
  const statuses = (await query(prometheus, what)).map(({ metric }) => metric.status_code)
  t.ok(statuses.includes('500') && statuses.includes('404') && !statuses.includes('204'), `${statuses}`)
  const [share] = await query(prometheus, became)
  t.equal(Number(share?.value[1]).toFixed(2), '1.00')
})

t.test('each query of the dashboard returns data', async (t) => {
  const dashboard = JSON.parse(readFileSync('compose/grafana/dashboards/storage-api.json', 'utf8'))
  const values: Record<string, string> = { $job: '.*', $instance: '.*', $__rate_interval: '1m' }
  interface Query {
    expr?: string
  }
  const queries: [string, Query[]][] = [
    ...dashboard.panels.map(({ title, targets = [] }: { title: string; targets?: Query[] }) => [
      title,
      targets,
    ]),
    ...dashboard.annotations.list.map(({ name, target }: { name: string; target: Query }) => [
      name,
      [target],
    ]),
  ]
  for (const [title, targets] of queries) {
    // Those of an engine over a network are asked in valkey.e2e.ts.
    if (title.startsWith('Engine')) continue
    for (const { expr = '' } of targets) {
      const promql = expr.replace(/\$\w+/g, (variable) => values[variable] as string)
      const samples = await eventually(() => query(prometheus, promql), isThere)
      t.ok(isThere(samples), `${title}: ${promql}`)
      t.notOk(
        samples.some(({ value }) => value[1] === 'NaN'),
        'no NaN',
      )
    }
  }
  for (const { name, definition } of dashboard.templating.list) {
    if (definition === undefined) continue
    const [, selector = '', label = ''] = /^label_values\((.*), (\w+)\)$/.exec(definition) ?? []
    const samples = await query(prometheus, selector.replace('$job', '.*'))
    t.ok(samples[0]?.metric[label], `variable ${name}: ${definition}`)
  }
})

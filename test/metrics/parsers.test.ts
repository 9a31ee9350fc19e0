/** Reads both pages with parsers of other projects. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { eventually, query, queryExemplars } from '../e2e/prometheus.ts'
import { type App, build, exchange, listen, send } from '../helper.ts'
import { freePorts, lacking, outputOf, run, runSync, start, stop, temporaryDirectory } from '../process.ts'

const OPENMETRICS = { accept: 'application/openmetrics-text' }

/** A service that has answered odd, slow and failed requests, and its port. */
async function odd(t: Test): Promise<{ app: App; port: number }> {
  const app = build(t, { FAULTS: 'DELETE=500@1,GET=delay:20ms@1' })
  const port = await listen(app)
  for (const path of ['/api/buckets/a', '/nowhere']) {
    for (const method of ['PUT', 'GET', 'HEAD', 'DELETE', 'POST', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND']) {
      await send({ port, path, method, headers: { 'x-request-id': method } })
    }
  }
  await exchange(port, 'nonsense\r\n\r\n')
  return { app, port }
}

t.test('the page of a service that has seen odd requests stays below 150 kB', async (t) => {
  const { app } = await odd(t)
  for (const headers of [{}, OPENMETRICS])
    t.ok((await app.inject({ url: '/metrics', headers })).payload.length < 150_000)
})

t.test('promtool finds nothing to criticise in the text format', { skip: lacking('promtool') }, async (t) => {
  const { app } = await odd(t)
  const { payload } = await app.inject('/metrics')
  const promtool = await run(['promtool', 'check', 'metrics'], { input: payload })
  t.equal(promtool.status, 0, promtool.stderr)
})

/** Prints the numbers of samples and exemplars. */
const PYTHON = `
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
samples = [s for family in text_string_to_metric_families(sys.stdin.read()) for s in family.samples]
print(len(samples), sum(s.exemplar is not None for s in samples))`

const hasParser = runSync('python3', '-c', 'import prometheus_client').status === 0

t.test(
  "Prometheus' client for Python reads every sample of OpenMetrics",
  { skip: process.env.CI === undefined && !hasParser ? 'no prometheus_client' : false },
  async (t) => {
    const { app } = await odd(t)
    const { payload } = await app.inject({ url: '/metrics', headers: OPENMETRICS })
    const count = (pattern: RegExp) => payload.match(pattern)?.length
    t.equal(
      await outputOf(['python3', '-c', PYTHON], { input: payload }),
      `${count(/^[^#]/gm)} ${count(/ # \{/g)}\n`,
    )
  },
)

t.test('Prometheus scrapes OpenMetrics without a warning', { skip: lacking('prometheus') }, async (t) => {
  const { port } = await odd(t)
  const { path, remove } = temporaryDirectory('prometheus')
  t.after(remove)
  const configuration = {
    global: { scrape_interval: '1s' },
    scrape_configs: [
      {
        job_name: 'storage_api',
        scrape_protocols: ['OpenMetricsText1.0.0'],
        static_configs: [{ targets: [`127.0.0.1:${port}`] }],
      },
    ],
  }
  writeFileSync(join(path, 'prometheus.yml'), JSON.stringify(configuration))
  const [prometheusPort] = await freePorts(1)
  const address = `127.0.0.1:${prometheusPort}`
  const prometheus = start(
    [
      'prometheus',
      `--config.file=${join(path, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(path, 'data')}`,
      `--web.listen-address=${address}`,
      '--enable-feature=exemplar-storage',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  const log = text(prometheus.stderr as NonNullable<typeof prometheus.stderr>)
  t.after(() => stop(prometheus))

  const up = () => query(`http://${address}`, 'up{job="storage_api"}').catch(() => [])
  t.match(await eventually(up, (samples) => samples[0]?.value[1] === '1'), [{ value: [Number, '1'] }])
  const failed = 'http_request_duration_seconds_count{status_code="500"} == 1'
  t.match(await query(`http://${address}`, failed), [{ metric: { method: 'DELETE' } }])
  const series = await queryExemplars(`http://${address}`, 'http_request_duration_seconds_bucket')
  const ids = series.map(({ seriesLabels: { method, status_code }, exemplars: [last] }) => [
    `${method} ${status_code}`,
    last?.labels.request_id,
  ])
  t.match(Object.fromEntries(ids), { 'DELETE 500': 'DELETE', 'GET 200': 'GET' })

  await stop(prometheus)
  t.notMatch(await log, /level=(?:WARN|ERROR)/)
})

/**
 * Measures a scrape of the service as its image runs it: `npm run bench:scrape`. It measures the
 * duration for the client and for the event loop of an idle service, and the size. It repeats this
 * after a million ids, odd methods and unknown paths. It also measures requests during one scrape
 * per second, and the cost of an observation. `--write` puts the tables into docs/performance.md.
 */
import { Agent, METHODS, request } from 'node:http'
import { parseArgs } from 'node:util'
import { stop } from '../../test/process.ts'
import { load, median, run } from './compare.ts'
import { observationTable } from './observation.ts'
import { askProbe, probedStorageApi } from './probed.ts'
import { cpuMicroseconds } from './process.ts'
import { writeSection } from './report.ts'

const { values: options } = parseArgs({ options: { write: { type: 'boolean', default: false } } })

const SCRAPES = 500
const FIRST_SCRAPES = 100
/**
 * V8 compiles more and more of the code during these scrapes. On one core, each compilation stops
 * the event loop for up to 5 ms, wherever it is (`node --trace-opt`).
 */
const WARM_UP_SCRAPES = 5000
const ODD_REQUESTS = 20_000
const ROUNDS = 7
const SECONDS = 3

const contender = { command: probedStorageApi({ MAX_STORE_BYTES: `${2 ** 30}` }) }
const service = await run('storage-api', contender)
if (service === undefined) throw new Error('the service did not start')
const { child, port } = service
const agent = new Agent({ keepAlive: true, maxSockets: 8 })

/** The formats, each with the `Accept` that selects it. */
const FORMATS = { text: {}, OpenMetrics: { accept: 'application/openmetrics-text' } }

/** Sends a request and returns the length of the response body, in bytes. */
function ask(method: string, path: string, headers = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: '127.0.0.1', port, method, path, headers, agent })
    outgoing.once('error', reject)
    outgoing.once('response', (response) => {
      let bytes = 0
      response.on('data', (chunk) => {
        bytes += chunk.length
      })
      response.once('end', () => resolve(bytes))
    })
    outgoing.end()
  })
}

/** The columns of the median and the p99. */
function quantiles(milliseconds: number[]): string {
  const p99 = milliseconds.toSorted((a, b) => a - b)[Math.floor(0.99 * milliseconds.length)] as number
  return `${median(milliseconds).toFixed(2)} | ${p99.toFixed(2)}`
}

/** Makes one scrape after another in each format. Each format is a row of the table. */
async function scrapes(name: string): Promise<string[]> {
  const rows: string[] = []
  for (const [format, headers] of Object.entries(FORMATS)) {
    for (let i = 0; i < WARM_UP_SCRAPES; i++) await ask('GET', '/metrics', headers)
    rows.push(await scrapesIn(`${name}, ${format}`, headers, SCRAPES))
  }
  return rows
}

async function scrapesIn(name: string, headers: object, count: number): Promise<string> {
  const durationsMs: number[] = []
  const activeMs: number[] = []
  const cpuMs: number[] = []
  let bytes = 0
  for (let i = 0; i < count; i++) {
    const active = await askProbe(child, 'active')
    const cpu = cpuMicroseconds(child.pid as number)
    const begun = performance.now()
    bytes = await ask('GET', '/metrics', headers)
    const ended = performance.now()
    cpuMs.push((cpuMicroseconds(child.pid as number) - cpu) / 1000)
    durationsMs.push(ended - begun)
    activeMs.push((await askProbe(child, 'active')) - active)
  }
  return `| ${name} | ${bytes} | ${quantiles(activeMs)} | ${quantiles(durationsMs)} | ${quantiles(cpuMs)} |`
}

/** A load of GETs, alone or with one scrape per second. */
async function beside(isScraped: boolean) {
  const timer = isScraped ? setInterval(() => ask('GET', '/metrics'), 1000) : undefined
  const round = await load(service as NonNullable<typeof service>, 'GET 100 B', SECONDS)
  clearInterval(timer)
  return round
}

try {
  const rows = [
    await scrapesIn(`the first ${FIRST_SCRAPES}, text`, FORMATS.text, FIRST_SCRAPES),
    ...(await scrapes('no objects')),
  ]
  await load(service, '1,000,000 of 100 B', 'empty')
  const methods = METHODS.filter((method) => method !== 'CONNECT')
  for (let i = 0; i < ODD_REQUESTS; i++)
    await ask(methods[i % methods.length] as string, i % 2 === 0 ? `/unknown/${i}` : `/api/buckets/${i}`)
  rows.push(...(await scrapes('a million ids, odd methods and unknown paths')))

  await load(service, 'GET 100 B', 'fill')
  await beside(true)
  const alone: Awaited<ReturnType<typeof beside>>[] = []
  const scraped: typeof alone = []
  for (let round = 0; round < ROUNDS; round++) {
    alone.push(await beside(false))
    scraped.push(await beside(true))
  }
  const latencies = Object.entries({ 'GET 100 B': alone, 'beside a scrape a second': scraped }).map(
    ([name, figures]) =>
      `| ${name} | ${median(figures.map(({ p50Ms }) => p50Ms)).toFixed(2)} | ${median(figures.map(({ p99Ms }) => p99Ms)).toFixed(2)} |`,
  )
  const tables = [
    [
      '| a scrape | bytes | event loop busy: p50, ms | p99, ms | client waits: p50, ms | p99, ms | CPU: p50, ms | p99, ms |',
      '|---|---|---|---|---|---|---|---|',
      ...rows,
    ].join('\n'),
    ['| requests | p50, ms | p99, ms |', '|---|---|---|', ...latencies].join('\n'),
    observationTable(),
  ]
  console.log(tables.join('\n\n'))
  if (options.write) writeSection('scrape', [`Node.js ${process.version}.`, ...tables])
} finally {
  agent.destroy()
  await stop(child)
}

/**
 * Measures a scrape of the service as its image runs it: how long it takes when nothing else is asked, its size, both after a
 * million ids, odd methods and unknown paths too, and how long requests take beside a scrape a second: `npm run bench:scrape`.
 * `--write` puts the tables into docs/performance.md.
 */
import { Agent, METHODS, request } from 'node:http'
import { parseArgs } from 'node:util'
import { load, median, run } from './compare.ts'
import { storageApi } from './contenders.ts'
import { cpuMicroseconds, stop } from './process.ts'
import { writeSection } from './report.ts'

const { values: options } = parseArgs({ options: { write: { type: 'boolean', default: false } } })

const SCRAPES = 500
const ODD_REQUESTS = 20_000
const ROUNDS = 7
const SECONDS = 3

const contender = { command: storageApi([], { MAX_STORE_BYTES: `${2 ** 30}` }) }
const service = await run('storage-api', contender)
if (service === undefined) throw new Error('the service did not start')
const { child, port } = service
const agent = new Agent({ keepAlive: true, maxSockets: 8 })

/** Sends a request, and returns how many bytes the answer's body has. */
function ask(method: string, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: '127.0.0.1', port, method, path, agent })
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

/** One scrape after another; a row of the table. */
async function scrapes(name: string): Promise<string> {
  const durationsMs: number[] = []
  let bytes = 0
  // The first are for warming up.
  for (let i = 0; i < 100; i++) await ask('GET', '/metrics')
  const before = cpuMicroseconds(child.pid as number)
  for (let i = 0; i < SCRAPES; i++) {
    const begun = performance.now()
    bytes = await ask('GET', '/metrics')
    durationsMs.push(performance.now() - begun)
  }
  const cpuMs = (cpuMicroseconds(child.pid as number) - before) / SCRAPES / 1000
  durationsMs.sort((a, b) => a - b)
  const p99 = durationsMs[Math.floor(0.99 * SCRAPES)] as number
  return `| ${name} | ${bytes} | ${median(durationsMs).toFixed(2)} | ${p99.toFixed(2)} | ${cpuMs.toFixed(2)} |`
}

/** A load of GETs, alone or with a scrape every second. */
async function beside(isScraped: boolean) {
  const timer = isScraped ? setInterval(() => ask('GET', '/metrics'), 1000) : undefined
  const round = await load(service as NonNullable<typeof service>, 'GET 100 B', SECONDS)
  clearInterval(timer)
  return round
}

try {
  const rows = [await scrapes('at the start')]
  await load(service, '1,000,000 of 100 B', 'empty')
  const methods = METHODS.filter((method) => method !== 'CONNECT')
  for (let i = 0; i < ODD_REQUESTS; i++)
    await ask(methods[i % methods.length] as string, i % 2 === 0 ? `/unknown/${i}` : `/api/buckets/${i}`)
  rows.push(await scrapes('after a million ids, odd methods and unknown paths'))

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
    ['| a scrape | bytes | p50, ms | p99, ms | CPU, ms |', '|---|---|---|---|---|', ...rows].join('\n'),
    ['| requests | p50, ms | p99, ms |', '|---|---|---|', ...latencies].join('\n'),
  ]
  console.log(tables.join('\n\n'))
  if (options.write) writeSection('scrape', [`Node.js ${process.version}.`, ...tables])
} finally {
  agent.destroy()
  await stop(child)
}

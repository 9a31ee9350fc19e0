/**
 * Measures the memory of objects in the service as its image runs it, the memory that stays after
 * their deletion, and the event loop delays while objects are stored and deleted at full speed:
 * `npm run bench:memory`. `--write` puts the table into docs/performance.md. `--only` selects cases
 * by the beginning of their names.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { stop } from '../../test/process.ts'
import { load, run } from './compare.ts'
import { askProbe, probedStorageApi } from './probed.ts'
import { residentBytes } from './process.ts'
import { writeSection } from './report.ts'
import { WORKLOADS } from './workloads.ts'

const { values: options } = parseArgs({
  options: { write: { type: 'boolean', default: false }, only: { type: 'string', default: '' } },
})

/**
 * Many requests, but few objects. The memory that this case leaves is not the objects': V8 has
 * compiled the code.
 */
const REQUESTS_ONLY = 'PUT 100 B'
const REQUESTS_SECONDS = 40
const ALL = [REQUESTS_ONLY, '1,000,000 of 100 B', '100,000 of 1 KiB', '100 of 16 MiB'] as const
const CASES = ALL.filter((name) => name.startsWith(options.only))
/**
 * How long the service is idle after the last object is deleted. V8 collects garbage by itself 100
 * s after its last full collection, and once more 8 s later.
 */
const QUIET_SECONDS = 120
/** Enough for all objects. By default the store has half of the machine's memory. */
const LIMIT = { MAX_STORE_BYTES: `${2 * 2 ** 30}` }

const rows: string[] = []
for (const name of CASES) {
  const { objects, bytes } = WORKLOADS[name]
  const command = probedStorageApi(LIMIT)
  // V8 collects garbage in other threads. On one core, they and the server would wait for each
  // other.
  const contender = { command: (port: number) => ({ ...command(port), isFree: true }) }
  const service = await run('storage-api', contender)
  if (service === undefined) throw new Error('the service did not start')
  const { child, port } = service
  const metric = async (name: string) => {
    const page = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
    return Number(RegExp(`^${name} (.*)$`, 'm').exec(page)?.[1])
  }
  try {
    // The start includes a scrape, because the memory of its code and its buffers stays.
    await metric('storage_bytes')
    const startedBytes = residentBytes(child.pid as number)
    const start = await askProbe(child, 'collected to the last')
    await load(service, name, 'fill')
    if (name === REQUESTS_ONLY) await load(service, name, REQUESTS_SECONDS)
    const stored = await metric('storage_bytes')
    const full = await askProbe(child, 'collected')
    await load(service, name, 'empty')
    const left = await metric('storage_objects')
    if (left > 0) throw new Error(`${left} objects are left`)
    await sleep(QUIET_SECONDS * 1000)
    const quietBytes = residentBytes(child.pid as number)
    const empty = await askProbe(child, 'collected to the last')
    const grown = full.residentBytes - start.residentBytes
    const columns = [
      ...(name === REQUESTS_ONLY
        ? ['', '']
        : [(grown / objects - bytes).toFixed(0), (grown / stored).toFixed(2)]),
      (quietBytes / startedBytes).toFixed(2),
      (empty.residentBytes / startedBytes).toFixed(2),
      ...[full.longestDelayMs, full.p99DelayMs, full.longestPauseMs, empty.longestDelayMs].map((ms) =>
        ms.toFixed(1),
      ),
    ]
    rows.push(`| ${name} | ${columns.join(' | ')} |`)
    console.log(rows.at(-1), JSON.stringify({ startedBytes, start, full, quietBytes, empty, stored }))
  } finally {
    await stop(child)
  }
}
const table = [
  '| objects | beyond the payload, B | grown : storage_bytes | emptied : start | collected : start | filling: longest delay, ms | filling: 99 % of delays below, ms | filling: longest pause, ms | emptying: longest delay, ms |',
  '|---|---|---|---|---|---|---|---|---|',
  ...rows,
].join('\n')
console.log(table)
if (options.write) writeSection('memory', [`Node.js ${process.version}.`, table])

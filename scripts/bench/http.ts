/**
 * Measures the service beside what it is made of, and prints a table for each workload: `npm run bench`. Options: `--processes`,
 * `--rounds` and `--seconds`, `--contenders` and `--workloads` (names with commas between), `--write SECTION` for docs/performance.md.
 */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { type Comparison, compare, median, ratio } from './compare.ts'
import { CONTENDERS, type Contender } from './contenders.ts'
import { isPinned } from './process.ts'
import { writeSection } from './report.ts'
import { CONNECTIONS, WORKLOADS, type WorkloadName } from './workloads.ts'

const { values: options } = parseArgs({
  options: {
    processes: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '13' },
    seconds: { type: 'string', default: '0.3' },
    contenders: {
      type: 'string',
      default: 'storage-api,without metrics,bare Fastify,fastify-metrics,node:http,nginx',
    },
    workloads: { type: 'string', default: 'GET 100 B,PUT 100 B,GET 64 KiB,GET 304,80/15/5' },
    write: { type: 'string' },
  },
})

function pick<T>(from: Record<string, T>, names: string): Record<string, T> {
  const picked = names.split(',').map((name) => {
    const value = from[name]
    if (value === undefined) throw new Error(`${name} is none of ${Object.keys(from).join(', ')}`)
    return [name, value]
  })
  return Object.fromEntries(picked)
}

/** A table of medians; the ratios are the first contender's to each of the others. */
function table(workload: WorkloadName, comparison: Comparison): string {
  const [first = []] = Object.values(comparison)
  const rows = Object.entries(comparison).map(([name, rounds]) => {
    const figure = (of: 'requestsPerSecond' | 'p50Ms' | 'p99Ms' | 'cpuMicroseconds', digits: number) =>
      median(rounds.map((round) => round[of])).toFixed(digits)
    const columns = [
      figure('requestsPerSecond', 0),
      ratio(first, rounds, 'requestsPerSecond').toFixed(2),
      figure('cpuMicroseconds', 1),
      ratio(first, rounds, 'cpuMicroseconds').toFixed(2),
      figure('p50Ms', 2),
      figure('p99Ms', 2),
    ]
    return `| ${name} | ${columns.join(' | ')} |`
  })
  return [
    `| ${workload} | requests/s | ours : its | CPU, us | ours : its | p50, ms | p99, ms |`,
    '|---|---|---|---|---|---|---|',
    ...rows,
  ].join('\n')
}

const tables: string[] = []
const contenders = pick<Contender>(CONTENDERS, options.contenders)
const workloads = Object.keys(pick(WORKLOADS, options.workloads)) as WorkloadName[]
const processes = Number(options.processes)
const rounds = Number(options.rounds)
const seconds = Number(options.seconds)
for await (const [workload, comparison] of compare({ contenders, workloads, processes, rounds, seconds })) {
  tables.push(table(workload, comparison))
  console.log(`${tables.at(-1)}\n`)
}
const cores = `${availableParallelism()} cores${isPinned ? ', one of them for the load' : ''}`
const conditions = `Node.js ${process.version}, ${cores}, ${CONNECTIONS} connections; medians of ${rounds} rounds of ${seconds} s with each of ${processes} processes.`
console.log(conditions)
if (options.write !== undefined) writeSection(options.write, [conditions, ...tables])

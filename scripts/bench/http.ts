/**
 * Measures the service beside its floors and beside others, and prints the ratios, then a table for each workload: `npm run bench`.
 * Options: `--thorough`, or `--processes`, `--rounds` and `--seconds`; `--contenders` and `--workloads` (names with commas between);
 * `--against` a folder or a git revision of the service; `--write SECTION` for docs/performance.md.
 */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { buildCheckout } from './checkout.ts'
import { type CompareOptions, compare } from './compare.ts'
import { CONTENDERS, type Contender, storageApi } from './contenders.ts'
import { isPinned } from './process.ts'
import { doubts, ratios, table, writeSection } from './report.ts'
import { CONNECTIONS, WORKLOADS, type WorkloadName } from './workloads.ts'

const { values: options } = parseArgs({
  options: {
    thorough: { type: 'boolean', default: false },
    processes: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string', default: '0.25' },
    contenders: {
      type: 'string',
      default: 'storage-api,contract floor,framework floor,bare Fastify,nginx,webdis',
    },
    workloads: {
      type: 'string',
      default:
        'GET 100 B,GET 304,GET 404,GET a listing,PUT 100 B,PUT 412,PUT 1 KiB + 1 B,GET 64 KiB,GET 32 of 64 KiB,80/15/5',
    },
    against: { type: 'string' },
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

const contenders = pick<Contender>(CONTENDERS, options.contenders)
const [[first, measured] = []] = Object.entries(contenders)
const copy = `${first}, a second copy`
const all: Record<string, Contender> = { ...contenders, [copy]: measured as Contender }
if (options.against !== undefined)
  all[options.against] = { command: storageApi([], {}, await buildCheckout(options.against)) }

const compared: CompareOptions = {
  contenders: all,
  workloads: Object.keys(pick(WORKLOADS, options.workloads)) as WorkloadName[],
  processes: Number(options.processes ?? (options.thorough ? 5 : 3)),
  rounds: Number(options.rounds ?? (options.thorough ? 9 : 4)),
  seconds: Number(options.seconds),
}
const comparisons = await compare(compared)

const { processes, rounds, seconds } = compared
const cores = `${availableParallelism()} cores${isPinned ? ', one of them for the load' : ''}`
const conditions = `Node.js ${process.version}, ${cores}, ${CONNECTIONS} connections; medians of ${rounds} rounds of ${seconds} s in each of ${processes} processes.`
const summary = [conditions, ...doubts(comparisons, copy), ...ratios(comparisons)]
const tables = [...comparisons].map(([workload, comparison]) => table(workload, comparison))
console.log([...tables, ...summary].join('\n\n'))
if (options.write !== undefined) {
  writeSection(`${options.write} ratios`, summary)
  writeSection(options.write, tables)
}

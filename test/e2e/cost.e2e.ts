import t from 'tap'
import { outputOf } from '../process.ts'

/**
 * The highest processor time per request, divided by that of bare Fastify in the same seconds. In
 * five runs on a shared machine it was 1.27 to 1.38 for GET and 1.44 to 1.69 for PUT. A quarter
 * more than that is not noise.
 */
const LIMITS = { 'GET 100 B': 1.75, 'PUT 100 B': 2.1 }

/** Each run has one workload, because V8 optimizes for the requests that it has seen before. */
const bench = (workload: string) => [
  ...['npm', 'run', 'bench', '--', '--processes', '3', '--rounds', '5'],
  ...['--contenders', 'storage-api,bare Fastify', '--workloads', workload],
]

t.test('a request costs no more of the processor than it did, by what it costs bare Fastify', async (t) => {
  for (const [workload, limit] of Object.entries(LIMITS)) {
    const printed = await outputOf(bench(workload))
    const table = printed.slice(printed.indexOf(`| ${workload} |`))
    const [, , , , ratio] = /\| bare Fastify .*/.exec(table)?.[0].split(' | ') ?? []
    t.ok(Number(ratio) < limit, `${workload}: ${ratio} times bare Fastify, at most ${limit}`)
  }
})

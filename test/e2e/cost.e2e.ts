import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'

/**
 * The most processor time of a request, by that of bare Fastify in the same seconds. On machines that others share the
 * median of nine rounds was 1.4 to 1.9 for GET and 1.8 to 2.2 for PUT: a quarter more is no noise.
 */
const LIMITS = { 'GET 100 B': 2.4, 'PUT 100 B': 2.75 }

const BENCH = [
  ...['npm', 'run', 'bench', '--', '--rounds', '9', '--seconds', '1'],
  ...['--contenders', 'storage-api,bare Fastify', '--workloads', Object.keys(LIMITS).join()],
]

t.test('a request costs no more of the processor than it did, by what it costs bare Fastify', async (t) => {
  // Without the variables that tap has its processes load themselves into whatever Node.js they start.
  const { stdout } = await promisify(execFile)('env', ['-i', `PATH=${process.env.PATH}`, ...BENCH])
  for (const [workload, limit] of Object.entries(LIMITS)) {
    const table = stdout.slice(stdout.indexOf(`| ${workload} |`))
    const [, , , , ratio] = /\| bare Fastify .*/.exec(table)?.[0].split(' | ') ?? []
    t.ok(Number(ratio) < limit, `${workload}: ${ratio} times bare Fastify, at most ${limit}`)
  }
})

/** What the documentation says and the code decides: names, defaults, limits, messages. */
import { globSync, readFileSync } from 'node:fs'
import { METHODS } from 'node:http'
import t from 'tap'
import * as errors from '../src/http/errors.ts'
import { LINGER_MS } from '../src/http/socket-reading.ts'
import { BUCKETS_SECONDS } from '../src/metrics/duration-histogram.ts'
import { configSchema } from '../src/plugins/config.ts'
import { MAX_WAITING } from '../src/plugins/connections.ts'
import { FAULTS } from '../src/plugins/faults.ts'
import { MAX_HEADER_BYTES, MAX_HEADERS, REJECTIONS } from '../src/plugins/rejections.ts'
import { MAX_UNREAD_BYTES } from '../src/plugins/unread.ts'
import {
  listSchema,
  MAX_ID_BYTES,
  MAX_LIMIT,
  MAX_TTL_SECONDS,
  putSchema,
} from '../src/routes/buckets.schema.ts'
import { OWN_BUFFER, RECORD } from '../src/store/memory/budget.ts'
import { MAX_PACKED_BYTES } from '../src/store/memory/memory-object.ts'
import { LIMIT_MS } from '../src/store/redis/lane.ts'
import { MAX_COUNT, MAX_SCANS } from '../src/store/redis/listing.ts'
import { OPERATIONS } from '../src/store/redis/redis.ts'
import { build, scrape } from './helper.ts'

const read = (file: string) => readFileSync(file, 'utf8')

/** The cells of a Markdown table, row by row. `head` is the beginning of the table's first line. */
function table(file: string, head: string, after = ''): string[][] {
  const page = read(file)
  const [, , ...rows] =
    page
      .slice(page.indexOf(`\n${head}`, page.indexOf(after)) + 1)
      .split('\n\n', 1)[0]
      ?.split('\n') ?? []
  return rows.map((row) =>
    row
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
}

/** The texts in backticks. */
const codes = (markdown = '') => [...markdown.matchAll(/`([^`]*)`/g)].map(([, code = '']) => code)

/** Variables and their defaults, as the tables below a heading of docs/configuration.md have them. */
function documented(heading: string): Record<string, string> {
  const [, section = ''] = read('docs/configuration.md').split(`\n## ${heading}\n`)
  const rows = (section.split('\n## ', 1)[0] as string).matchAll(/^\| `(\w+)` \| (.*?) ?\|/gm)
  return Object.fromEntries([...rows].map(([, name, value = '']) => [name, value.replaceAll('`', '')]))
}

const { properties: settings } = configSchema

/** Variables and their defaults, by a pattern for both. */
const variables = (pattern: RegExp, ...files: string[]): Record<string, string> =>
  Object.fromEntries(
    files.flatMap((file) => [...read(file).matchAll(pattern)].map(([, name, value]) => [name, value])),
  )
const ofCompose = variables(/\$\{(\w+):-([^}]*)\}/g, ...globSync('compose/*/compose.yaml'))

t.test('docs/configuration.md has every setting with its default', async (t) => {
  const defaults = Object.entries(settings).map(([name, schema]) => [name, `${schema.default ?? ''}`])
  t.strictSame(documented('The service'), {
    ...Object.fromEntries(defaults),
    MAX_STORE_BYTES: 'half of the memory',
    MAX_CONNECTIONS: 'what the memory allows',
  })
})

t.test(
  'docs/configuration.md has every other variable of Compose and of the traffic script with its default',
  async (t) => {
    const others = Object.entries(ofCompose).filter(([name]) => !(name in settings))
    t.strictSame(documented('Compose'), Object.fromEntries(others))
    t.strictSame(
      documented('The traffic script'),
      variables(/^(\w+)=\$\{\1:-(.*)\}$/gm, 'scripts/generate_traffic.sh'),
    )
    const page = read('docs/configuration.md').replace(/\s+/g, ' ')
    const [, kept] = /passes every setting of the service to its container, except (.*?)\. /.exec(page) ?? []
    t.strictSame(new Set(codes(kept)), new Set(Object.keys(settings).filter((name) => !(name in ofCompose))))
  },
)

t.test('docs/configuration.md has every method, status and bound of FAULTS, and no other', async (t) => {
  const parts = Object.fromEntries(table('docs/configuration.md', '| part |'))
  const allowed = (texts: string[], wrap: (text: string) => string) =>
    new Set(texts.filter((text) => FAULTS.test(wrap(text))))
  t.strictSame(
    allowed([...METHODS, '*'], (method) => `${method}=500@1`),
    new Set(codes(parts.method)),
  )
  const statuses = Array.from({ length: 1000 }, (_, status) => `${status}`)
  t.strictSame(
    allowed(statuses, (status) => `GET=${status}@1`),
    new Set(codes(parts.status)),
  )
  const delays = Array.from({ length: 100_000 }, (_, ms) => `delay:${ms}ms`)
  const [shortest, longest] = codes(parts.delay)
  t.match([...allowed(delays, (delay) => `GET=${delay}@1`)], { 0: shortest, length: 60_000, 59999: longest })
  const shares = ['0', '0.123456', '0.1234567', '1', '1.1', '2']
  t.strictSame(
    allowed(shares, (share) => `GET=500@${share}`),
    new Set(['0', '0.123456', '1']),
  )
  t.strictSame(codes(parts.probability), ['0', '1'])
})

t.test('.env.example has every variable of Compose, commented out, with its default', async (t) => {
  const example = read('.env.example')
  t.strictSame(
    variables(/^# ([A-Z_]+)=(.*)$/gm, '.env.example'),
    Object.fromEntries(
      Object.entries(ofCompose).map(([name, value]) => {
        const isComputed = name === 'MAX_STORE_BYTES' || name === 'MAX_CONNECTIONS'
        const setting = settings[name as keyof typeof settings]
        return [name, value || (isComputed ? '' : `${setting?.default ?? ''}`)]
      }),
    ),
  )
  t.notMatch(example, /^[^#\n]/m, 'a copy of it changes nothing')
})

t.test('docs/api.md has every route, and no other', async (t) => {
  const app = build(t)
  const paths = new Set<string>()
  app.addHook('onRoute', ({ url }) => void paths.add(url))
  await app.ready()
  const routes = new Set<string>()
  for (const path of paths) {
    const { headers } = await app.inject({ method: 'OPTIONS', url: path })
    const documented = path.replace(/^(\/docs\/static\/).*/, '$1FILE')
    for (const method of `${headers.allow}`.split(', ')) routes.add(`${method} ${documented}`)
  }

  const headings = [...read('docs/api.md').matchAll(/^## ([A-Z]+(?: and [A-Z]+)*) (\/.*)$/gm)]
  const said = [
    ...headings.flatMap(([, methods = '', path]) =>
      methods.split(' and ').map((method) => `${method} ${path}`),
    ),
    ...table('docs/api.md', '| request | response |').flatMap(([requests]) => codes(requests)),
  ]
  // The section "Other methods" describes these for all paths.
  const others = said.flatMap((route) => [
    route.replace(/^[A-Z]+/, 'OPTIONS'),
    ...(route.startsWith('GET ') ? [route.replace('GET', 'HEAD')] : []),
  ])
  t.strictSame([...routes].sort(), [...new Set([...said, ...others])].sort())
})

t.test('docs/api.md has every error that a client can get, and no other', async (t) => {
  const examples: Record<string, unknown[]> = {
    idTooLong: [MAX_ID_BYTES],
    objectTooLarge: [settings.MAX_OBJECT_BYTES.default],
    rangeNotSatisfiable: [5],
    methodNotAllowed: ['DELETE, GET, HEAD, OPTIONS, PUT'],
    invalidEntityTags: ['if-match'],
    invalidParameters: [[`ttl must be ${putSchema.querystring.properties.ttl.allowed}`]],
    notReady: ['storage engine is unreachable'],
  }
  const { ErrorBody, HttpError, ClientGoneError, failure, ...makers } = errors
  const made = Object.entries(makers).map(([name, make]) => {
    const makeError = make as (...args: unknown[]) => errors.HttpError
    const { statusCode, message } = make instanceof HttpError ? make : makeError(...(examples[name] ?? []))
    return `${statusCode} ${message}`
  })
  const rejected = Object.values(REJECTIONS).map(({ statusCode, error }) => `${statusCode} ${error}`)
  t.strictSame(
    new Set(
      table('docs/api.md', '| status | error |').map(([status, error]) => `${status} ${codes(error)[0]}`),
    ),
    new Set([...made, ...rejected, '500 internal server error']),
  )
})

t.test('docs/engines.md has every trouble that /readyz tells of', async (t) => {
  const troubles = [...read('src/store/redis/health.ts').matchAll(/'storage engine (.*)'/g)].map(
    ([, text = '']) => text,
  )
  t.strictSame(
    new Set(table('docs/engines.md', '| `/readyz` says').flatMap(([cell]) => codes(cell))),
    new Set(troubles.filter((text) => text !== 'is available')),
  )
})

t.test('limits and figures are those of the code', async (t) => {
  const thousands = (number: number) => number.toLocaleString('en')
  const [KiB, MiB] = [2 ** 10, 2 ** 20]
  const said: [string, ...string[]][] = [
    [
      'docs/metrics.md',
      `buckets from ${1e6 * (BUCKETS_SECONDS[0] as number)} us to ${BUCKETS_SECONDS.at(-1)} s`,
    ],
    [
      'docs/api.md',
      `1 to ${MAX_ID_BYTES} bytes of UTF-8`,
      `\`?ttl=SECONDS\`, 1 to ${MAX_TTL_SECONDS}`,
      `| \`limit\` | ${listSchema.querystring.properties.limit.default} | most objects on a page, 1 to ${MAX_LIMIT} |`,
      `${RECORD.bytes} bytes of bookkeeping, and ${OWN_BUFFER.bytes} more above ${MAX_PACKED_BYTES / KiB} KiB`,
      `| ${LIMIT_MS / 1000} s without an answer`,
      `| ${MAX_HEADER_BYTES / KiB} KiB, ${MAX_HEADERS} headers |`,
      `| ${MAX_UNREAD_BYTES / MiB} MiB over all connections`,
      `${thousands(MAX_WAITING)} wait over all connections`,
    ],
    [
      'docs/decisions/0002-stream-request-bodies.md',
      `within the ${settings.REQUEST_TIMEOUT_SECONDS.default} s that a request may take`,
      `the socket stays open for ${LINGER_MS / 1000} s`,
    ],
    [
      'docs/decisions/0006-bound-what-a-client-can-hold.md',
      `bounded to ${MAX_UNREAD_BYTES / MiB} MiB`,
      `A client that stalls is cut after ${settings.STALL_TIMEOUT_SECONDS.default} s`,
    ],
    [
      'docs/decisions/0016-measure-routes-not-what-clients-invent.md',
      `${BUCKETS_SECONDS.length + 3} lines per series`,
    ],
    [
      'docs/decisions/0024-count-all-memory-of-an-object.md',
      `${RECORD.bytes} bytes per object, and ${OWN_BUFFER.bytes} more above ${MAX_PACKED_BYTES / KiB} KiB`,
    ],
    [
      'docs/decisions/0032-time-limits-and-checks-of-the-engine.md',
      `**The time limit is ${LIMIT_MS / 1000} s without an answer**`,
    ],
    [
      'docs/decisions/0034-list-and-count-by-the-servers-own-commands.md',
      `${MAX_SCANS} SCANs**, which grow to ${thousands(MAX_COUNT)} keys`,
    ],
    ['docs/engines.md', `at most ${MAX_SCANS} SCANs of up to ${thousands(MAX_COUNT)} keys`],
    ['docs/runbooks/StorageApiEngineSlow.md', `After ${LIMIT_MS} ms without an answer requests are 503`],
    [
      'docs/runbooks/StorageApiRequestsRejected.md',
      `over ${MAX_HEADER_BYTES / KiB} KiB or ${MAX_HEADERS} headers`,
    ],
    ['docs/runbooks/StorageApiStoreFull.md', `${settings.MAX_OBJECT_BYTES.default / MiB} MiB at most`],
    [
      'docs/runbooks/StorageApiStoreNearlyFull.md',
      `its size, its id and ${RECORD.bytes} bytes, and one above ${MAX_PACKED_BYTES / KiB} KiB another ${OWN_BUFFER.bytes}`,
    ],
  ]
  for (const [file, ...texts] of said) {
    // Wherever its lines break.
    const page = read(file).replace(/\s+/g, ' ')
    for (const text of texts) t.ok(page.includes(text), `${file}: ${text}`)
  }
})

t.test('docs/metrics.md has the metrics of the page, with their labels and what these can be', async (t) => {
  const pages = await Promise.all(
    ['memory:', 'redis://127.0.0.1:1'].map((url) => scrape(build(t, { STORAGE_URL: url }))),
  )
  const series = pages.flatMap((page) => Object.keys(page))
  const labels: Record<string, Set<string>> = {}
  for (const one of series) {
    const name = one.replace(/\{.*/, '').replace(/_(?:bucket|sum|count)$/, '')
    if (/^(?:process|nodejs)_/.test(name)) continue
    labels[name] ??= new Set()
    for (const [, label = ''] of one.matchAll(/(\w+)="/g)) if (label !== 'le') labels[name].add(label)
  }
  const rows = table('docs/metrics.md', '| name | type |').slice(0, -1)
  const all = new Set(Object.values(labels).flatMap((some) => [...some]))
  t.strictSame(
    Object.fromEntries(
      rows.flatMap(([names, , cell]) =>
        codes(names).map((name) => [
          name,
          new Set(codes(cell?.split(':')[0]).filter((code) => all.has(code))),
        ]),
      ),
    ),
    labels,
  )

  const cellOf = (name: string) => rows.find(([names]) => codes(names).includes(name))?.[2]
  t.strictSame(
    new Set(codes(cellOf('http_requests_rejected_total')).slice(1)),
    new Set(Object.keys(REJECTIONS)),
  )
  t.strictSame(new Set(codes(cellOf('storage_engine_duration_seconds')).slice(1)), new Set(OPERATIONS))
  const [, ...outcomes] = cellOf('storage_operations_total')?.split(/: |; /) ?? []
  const said = outcomes.slice(0, -1).flatMap((part) => {
    const [operation, ...ends] = codes(part)
    return [...ends, ...codes(outcomes.at(-1))].map((end) => `${operation} ${end}`)
  })
  const counted = series.flatMap((one) => {
    const [, operation, outcome] =
      /^storage_operations_total\{operation="(.*)",outcome="(.*)"\}/.exec(one) ?? []
    return operation === undefined ? [] : `${operation} ${outcome}`
  })
  t.strictSame(new Set(said), new Set(counted))
})

t.test('the runbook has every reason to reject a request, with its status', async (t) => {
  const rows = table('docs/runbooks/StorageApiRequestsRejected.md', '| reason |')
  const said = rows.flatMap(([reasons, cell = '']) => {
    const statuses = cell.split(', ').map(Number)
    return codes(reasons).map((reason, i) => [reason, statuses[i] ?? statuses[0]])
  })
  const answered = Object.entries(REJECTIONS).map(([reason, { statusCode }]) => [reason, statusCode])
  t.strictSame(Object.fromEntries(said), Object.fromEntries(answered))
})

t.test('one port, wherever it stands', async (t) => {
  const port = settings.PORT.default
  for (const [file, text] of [
    ['Dockerfile', `EXPOSE ${port}\n`],
    ['compose/storage-api/compose.yaml', `:\${STORAGE_API_PORT:-${port}}:${port}"`],
    ['compose/prometheus/prometheus.yml', `["storage_api:${port}"]`],
    ['README.md', `http://127.0.0.1:${port}/api/buckets/greeting`],
  ] as const) {
    t.ok(read(file).includes(text), `${file}: ${text}`)
  }
})

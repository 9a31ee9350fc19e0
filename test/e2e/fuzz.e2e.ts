import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { REASONS, send, until } from '../helper.ts'
import { start, stop } from '../process.ts'
import { AnswerReader, STATUSES, seen } from './fuzz-answers.ts'
import { type Conversation, conversations } from './fuzz-requests.ts'

const DEFAULT_REQUESTS = 200_000
const REQUESTS = Number(process.env.REQUESTS || DEFAULT_REQUESTS)
const SEED = Number(process.env.SEED || Date.now() % 2 ** 31)
const CONNECTIONS = 32

/**
 * More than the 64 KiB that a connection takes at once, so that some responses wait for their
 * client.
 */
const MAX_OBJECT_BYTES = 70_000
const MAX_STORE_BYTES = 4_000_000
const MAX_RESIDENT_BYTES = 250e6
const MAX_PAGE_BYTES = 150_000

/** How long a client waits if no response may be due, and if a response or the end is due. */
const QUIET_MS = 50
const HUNG_MS = 5000

/** How many failed conversations are reported, and how many bytes of a request. */
const MAX_PROBLEMS = 10
const MAX_PROBLEM_BYTES = 300

const among = (...values: (string | number)[]) => `"(?:${values.join('|').replaceAll('*', '\\*')})"`
const METHOD = among('GET', 'HEAD', 'PUT', 'DELETE', 'POST', 'PATCH', 'OPTIONS', 'TRACE', 'CONNECT', '_OTHER')
const PATH = among(...['/api/buckets/:id', '/api/buckets', 'unmatched'])
const STATUS_CODE = among(...STATUSES, 401, 408, 499, 500, 503)
const REQUEST = `method=${METHOD},path=${PATH},status_code=${STATUS_CODE}`
const REASON = among(...REASONS)
const PUT_OUTCOME = among('created', 'replaced', 'precondition_failed', 'full', 'error')
const DELETE_OUTCOME = among('deleted', 'miss', 'precondition_failed', 'error')
const READ_OUTCOME = among('hit', 'miss', 'error')

/** All series that may exist, by name and labels. */
const CATALOGUE = [
  `http_request_duration_seconds_bucket{le="[^"]+",${REQUEST}}`,
  `http_request_duration_seconds_(?:sum|count){${REQUEST}}`,
  'http_requests_in_flight',
  'http_connections',
  `http_connections_closed_total{reason=${among('limit', 'idle', 'timeout')}}`,
  `http_requests_rejected_total{reason=${REASON}}`,
  `storage_operations_total{operation="put",outcome=${PUT_OUTCOME}}`,
  `storage_operations_total{operation="delete",outcome=${DELETE_OUTCOME}}`,
  `storage_operations_total{operation=${among('get', 'list')},outcome=${READ_OUTCOME}}`,
  'storage_(?:objects|bytes|bytes_limit)',
  'storage_api_faults(?:_injected_total)?',
  'storage_api_build_info{version="[\\d.]+",revision="unknown",node_version="v[\\d.]+",engine="memory"}',
  '(?:process|nodejs)_[a-z0-9_]+',
  '(?:process|nodejs)_[a-z0-9_]+{(?:(?:le|kind|space|type|version|major|minor|patch)="[\\w.+]+",?)+}',
].map((series) => new RegExp(`^${series.replaceAll('{', '\\{').replaceAll('}', '\\}')}$`))

/** Runs the service as in a container of 512 MB, on a free port. */
const child = start([process.execPath, '--max-old-space-size=384', '--expose-gc', 'src/server.ts'], {
  env: {
    ...{ NODE_ENV: 'production', MALLOC_ARENA_MAX: '1', REVISION: '' },
    ...{ HOST: '127.0.0.1', PORT: '0', LOG_LEVEL: 'info', DRAIN_SECONDS: '0' },
    ...{ MAX_OBJECT_BYTES: `${MAX_OBJECT_BYTES}`, MAX_STORE_BYTES: `${MAX_STORE_BYTES}` },
  },
  stdio: ['ignore', 'pipe', 'pipe'],
})
const isRunning = () => child.exitCode === null && child.signalCode === null

/** The log of the service, and its stderr. */
const lines: string[] = []
createInterface(child.stdout as Readable).on('line', (line) => lines.push(line))
createInterface(child.stderr as Readable).on('line', (line) => lines.push(line))
await until(() => lines.length > 0)
const { port } = JSON.parse(lines[0] as string).address as AddressInfo

/** Has one conversation. Returns what is wrong with the responses. */
function converse({ requests, others, last, writes, end }: Conversation): Promise<string | undefined> {
  const isOwedAnswers = last === 'request' && end === 'read'
  const isOwedEnd = last === 'malformed' && end === 'read'
  const isToStay = isOwedAnswers && requests.every(({ closes }) => closes === false)
  const reader = new AnswerReader(requests)
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const socket = connect({ port, host: '127.0.0.1', noDelay: true }).setEncoding('latin1')
  let problem: string | undefined
  let isWritten = false
  let isReset = false
  let quietMs = 0

  const fail = (message: string) => {
    problem ??= message
    socket.destroy()
  }
  const hasAll = () => isWritten && isOwedAnswers && reader.answers >= requests.length
  const timer = setInterval(() => {
    quietMs += QUIET_MS
    if (quietMs >= HUNG_MS) fail('hung')
    else if (!isOwedAnswers && !isOwedEnd && !reader.isClosing && reader.isComplete()) socket.destroy()
  }, QUIET_MS)

  socket.on('data', (text) => {
    quietMs = 0
    timer.refresh()
    try {
      reader.read(`${text}`)
    } catch (error) {
      fail((error as Error).message)
    }
    if (end === 'interrupt') socket.resetAndDestroy()
    else if (hasAll()) socket.end()
  })
  socket.on('error', ({ message }) => {
    isReset = true
    if (isToStay) fail(message)
  })
  socket.on('close', () => {
    clearInterval(timer)
    if (end === 'read' && !reader.isComplete()) problem ??= 'an answer is cut short'
    // Writing to a closed connection resets it, and responses may be lost (RFC 9112 section 9.6).
    const isAnswered = isReset || reader.isClosing || reader.answers >= requests.length
    if ((isOwedAnswers || isOwedEnd) && !isAnswered) problem ??= 'no answer'
    const most = requests.length + (last === 'malformed' ? 1 : 0)
    if (last !== 'dubious' && reader.answers > most) problem ??= 'more answers than requests'
    const request = requests[reader.answers]?.bytes ?? others[0] ?? 'the end of the connection'
    resolve(problem && `${problem}: ${JSON.stringify(request.slice(0, MAX_PROBLEM_BYTES))}`)
  })
  const write = async () => {
    for (const bytes of writes) {
      socket.write(bytes)
      await setImmediate()
    }
    isWritten = true
    if (end === 'half' || hasAll()) socket.end()
    if (end === 'reset') socket.resetAndDestroy()
  }
  void write()
  return promise
}

const page = async () => (await send({ port, path: '/metrics' })).body.toString()

/** The series of a page and their values. */
function readSeries(page: string): Map<string, number> {
  const samples = page.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    samples.map((sample) => sample.split(/ (?=[^ ]+$)/)).map(([name = '', value]) => [name, Number(value)]),
  )
}

t.test(
  `each of ${REQUESTS} random requests has an answer that is documented, well-formed, and says nothing of it`,
  async (t) => {
    t.comment(`SEED=${SEED}`)
    const next = conversations(SEED, MAX_OBJECT_BYTES)
    const problems: string[] = []
    let requests = 0
    const client = async () => {
      while (requests < REQUESTS && problems.length < MAX_PROBLEMS && isRunning()) {
        const conversation = next()
        requests += conversation.requests.length + conversation.others.length
        const problem = await converse(conversation)
        if (problem !== undefined) problems.push(problem)
      }
    }
    await Promise.all(Array.from({ length: CONNECTIONS }, client))
    for (const problem of problems.slice(0, MAX_PROBLEMS)) t.comment(problem)
    t.equal(problems.length, 0, 'nothing is wrong with any answer')
    t.ok(seen.errors.size < 50, `there are ${seen.errors.size} errors, whatever the requests are`)
    t.comment(seen.statuses)
    const unseen = [...STATUSES].filter((status) => seen.statuses[status] === undefined)
    if (REQUESTS >= DEFAULT_REQUESTS) t.strictSame(unseen, [], 'every status has come')
  },
)

t.test('the process goes on, has logged no error, and has nothing in flight', async (t) => {
  t.ok(isRunning())
  t.equal((await send({ port, path: '/livez' })).statusCode, 200)
  t.strictSame(
    lines.filter((line) => !/^\{"level":"(?:info|warn)",/.test(line)),
    [],
  )
  await until(async () => readSeries(await page()).get('http_requests_in_flight') === 0)
})

t.test('nothing that a client sends adds a series, and the page stays below 150 kB', async (t) => {
  const text = await page()
  const names = [...readSeries(text).keys()]
  t.strictSame(
    names.filter((name) => !CATALOGUE.some((known) => known.test(name))),
    [],
  )
  t.ok(text.length < MAX_PAGE_BYTES, `${names.length} series, ${text.length} bytes`)
})

t.test('no request was a fault, only a full store refuses, and memory stays within its limits', async (t) => {
  const series = readSeries(await page())
  const faults = [...series].filter(([name, value]) => /_count.*status_code="50[03]"/.test(name) && value > 0)
  t.strictSame(faults, [])
  const full = series.get('storage_operations_total{operation="put",outcome="full"}') as number
  t.ok((seen.statuses[507] ?? 0) <= full, `the store was full ${full} times`)
  const stored = series.get('storage_bytes') as number
  t.ok(stored > 0 && stored <= MAX_STORE_BYTES, `${stored} bytes stored`)
  const resident = series.get('process_resident_memory_bytes') as number
  t.ok(resident < MAX_RESIDENT_BYTES, `${resident} bytes resident`)
})

t.test('objects are listed, deleted, stored and read as before', async (t) => {
  // The store may be full to the last byte.
  const { buckets } = JSON.parse((await send({ port, path: '/api/buckets' })).body.toString())
  t.not(buckets.length, 0)
  for (const { id } of buckets) {
    const listed = `/api/buckets/${encodeURIComponent(id)}`
    t.equal((await send({ port, path: listed, method: 'DELETE' })).statusCode, 204)
  }
  const path = '/api/buckets/after'
  const bytes = Buffer.from('whole')
  t.equal((await send({ port, path, method: 'PUT' }, bytes)).statusCode, 201)
  t.strictSame((await send({ port, path })).body, bytes)
  t.equal((await send({ port, path, method: 'DELETE' })).statusCode, 204)
  t.equal((await send({ port, path })).statusCode, 404)
})

t.test('the process ends when it is told to', async (t) => {
  t.after(() => stop(child))
  child.kill('SIGTERM')
  t.strictSame(await once(child, 'close'), [0, null])
})

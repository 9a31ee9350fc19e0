import { once } from 'node:events'
import {
  Agent,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type RequestOptions,
  request,
} from 'node:http'
import { buffer, text } from 'node:stream/consumers'
import { setImmediate } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { build, isRemote, nothingStored } from '../engine.ts'
import { exchange, listen, scrape, send, until } from '../helper.ts'

const CLIENTS = 200
const path = '/api/buckets/contested'

const together = <T>(clients: number, act: (client: number) => Promise<T>) =>
  Promise.all(Array.from({ length: clients }, (_, client) => act(client)))

/** Counts the responses by status code. */
function tally(answers: { statusCode?: number | undefined }[]): Record<number, number> {
  const counts: Record<number, number> = {}
  for (const { statusCode = 0 } of answers) counts[statusCode] = (counts[statusCode] ?? 0) + 1
  return counts
}

/** Connections that stay open during a test. */
function keepAlive(t: Test): Agent {
  const agent = new Agent({ keepAlive: true })
  t.after(() => agent.destroy())
  return agent
}

/**
 * PUTs a body in two halves. It sends the second half when `between` resolves, so that other
 * requests come in between.
 */
async function putInHalves(
  options: RequestOptions,
  body: string,
  between: () => Promise<unknown>,
): Promise<IncomingMessage> {
  const upload = request({ host: '127.0.0.1', path, method: 'PUT', ...options })
  const answered = once(upload, 'response') as Promise<[IncomingMessage]>
  const half = Math.ceil(body.length / 2)
  upload.write(body.slice(0, half))
  await between()
  upload.end(body.slice(half))
  const [response] = await answered
  await text(response)
  return response
}

const framings: [string, OutgoingHttpHeaders][] = [
  ['a Content-Length', { 'content-length': 2000 }],
  ['chunked bodies', { 'transfer-encoding': 'chunked' }],
]
for (const [framing, framed] of framings) {
  t.test(`of ${CLIENTS} clients that create one object at once, with ${framing}, one does`, async (t) => {
    const app = build(t)
    const port = await listen(app)
    const bodies = Array.from({ length: CLIENTS }, (_, client) => `${client}`.padStart(2000))
    // All pass the first check, because no object exists yet. The state at the end of each body
    // decides.
    const allIn = until(async () => (await scrape(app)).http_requests_in_flight === CLIENTS)
    const options = { port, agent: false, headers: { ...framed, 'if-none-match': '*' } }
    const answers = await together(CLIENTS, (client) =>
      putInHalves(options, bodies[client] as string, () => allIn),
    )
    t.strictSame(tally(answers), { 201: 1, 412: CLIENTS - 1 })
    const winner = answers.findIndex(({ statusCode }) => statusCode === 201)
    const stored = await send({ port, path })
    t.equal(`${stored.body}`, bodies[winner])
    t.equal(stored.headers.etag, answers[winner]?.headers.etag)
    await send({ port, path, method: 'DELETE' })
    t.match(await scrape(app), nothingStored(), 'the others have left nothing')
  })
}

t.test('clients that count in one object, with ETag and If-Match, lose no count', async (t) => {
  const port = await listen(build(t))
  const agent = keepAlive(t)
  await send({ port, path, method: 'PUT' }, Buffer.from('0'))
  // The service reads the two halves in different turns of the event loop.
  const twoTurns = async () => {
    await setImmediate()
    await setImmediate()
  }
  async function count(): Promise<void> {
    const { headers, body } = await send({ port, path, agent })
    const options = { port, agent, headers: { 'if-match': headers.etag } }
    const { statusCode } = await putInHalves(options, `${Number(body) + 1}`, twoTurns)
    if (statusCode === 412) return count()
    if (statusCode !== 204) t.fail(`${statusCode}`)
  }
  // Each successful increment makes all other clients retry. More clients would only take more
  // time.
  await together(20, async () => {
    for (let i = 0; i < 10; i++) await count()
  })
  t.equal(`${(await send({ port, path })).body}`, '200')
})

t.test(`of ${CLIENTS} clients that delete the object that they have seen, one does`, async (t) => {
  const port = await listen(build(t))
  const { headers } = await send({ port, path, method: 'PUT' }, Buffer.from('seen'))
  const deletion = { port, path, method: 'DELETE', headers: { 'if-match': headers.etag } }
  t.strictSame(tally(await together(CLIENTS, () => send(deletion))), { 204: 1, 404: CLIENTS - 1 })
})

t.test(
  'on one connection each GET shows the PUT right before it, of whatever size and framing',
  async (t) => {
    const port = await listen(build(t))
    const bodies = Array.from({ length: 500 }, (_, i) => `<${i}>`.padEnd((i * 7919) % 5000, '-'))
    const chunk = (data: string) => `${data.length.toString(16)}\r\n${data}\r\n`
    const requests = bodies.map((body, i) => {
      const framed =
        i % 2 === 0
          ? `Content-Length: ${body.length}\r\n\r\n${body}`
          : `Transfer-Encoding: chunked\r\n\r\n${chunk(body[0] as string)}${chunk(body.slice(1))}0\r\n\r\n`
      return `PUT ${path} HTTP/1.1\r\nHost: a\r\n${framed}GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`
    })
    const end = 'GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
    const [, ...answers] = (await exchange(port, requests.join(''), end)).split('HTTP/1.1 ')
    t.strictSame(
      answers.slice(0, -1).map((answer) => [answer.slice(0, 3), answer.split('\r\n\r\n')[1]]),
      bodies.flatMap((body, i) => [
        [i === 0 ? '201' : '204', ''],
        ['200', body],
      ]),
    )
  },
)

t.test('a reader of an object that is being replaced gets one of those that there were, whole', async (t) => {
  const port = await listen(build(t))
  const agent = keepAlive(t)
  // Each byte of a version is the version's number.
  const versions = Array.from({ length: 101 }, (_, i) => Buffer.alloc(200_000 + 997 * ((i * 37) % 101), i))
  let begun = 0
  let completed = 0
  let reads = 0
  const wrong: object[] = []

  async function write(): Promise<void> {
    for (const version of versions.keys()) {
      begun = version
      await send({ port, path, agent, method: 'PUT' }, versions[version])
      completed = version
    }
  }

  async function read(): Promise<void> {
    while (reads < (isRemote() ? 500 : 2000) || completed < 100) {
      reads++
      const oldest = completed
      const { body } = await send({ port, path, agent })
      const version = body[0] ?? -1
      if (version < oldest || version > begun || !versions[version]?.equals(body))
        wrong.push({ version, oldest, newest: begun, length: body.length })
    }
  }

  await send({ port, path, method: 'PUT' }, versions[0])
  await Promise.all([write(), together(20, read)])
  t.strictSame(wrong, [])
})

t.test('a slow reader gets the whole of the object that it has begun to read', async (t) => {
  // Larger than the buffers of the sockets.
  const [old, other] = ['o', 'n'].map((fill) => Buffer.alloc(30_000_000, fill))
  const port = await listen(build(t, { MAX_OBJECT_BYTES: '30000000' }))
  await send({ port, path, method: 'PUT' }, old)
  const [response] = await once(request({ host: '127.0.0.1', port, path, agent: false }).end(), 'response')
  t.equal((await send({ port, path, method: 'PUT' }, other)).statusCode, 204)
  t.ok(old?.equals(await buffer(response)))
  t.ok(other?.equals((await send({ port, path })).body))
})

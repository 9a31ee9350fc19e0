import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import {
  build,
  exchange,
  listen,
  refusal,
  rejectionCount,
  requestCount,
  scrape,
  send,
  until,
} from '../helper.ts'

const HEAD = 'Host: a\r\nConnection: close\r\n\r\n'

t.test('what no route sees is answered, counted by reason, and measured nowhere else', async (t) => {
  const cases: [string, string, string, string][] = [
    ['bad_url', `GET /%zz HTTP/1.1\r\n${HEAD}`, '400 Bad Request', 'path must be percent-encoded utf-8'],
    ['malformed', 'nonsense\r\n\r\n', '400 Bad Request', 'malformed request'],
    ['malformed', `FROBNICATE / HTTP/1.1\r\n${HEAD}`, '400 Bad Request', 'malformed request'],
    [
      'header_overflow',
      `GET / HTTP/1.1\r\nX: ${'x'.repeat(100_000)}\r\n${HEAD}`,
      '431 Request Header Fields Too Large',
      'request line and headers too large: at most 16384 bytes',
    ],
    ['connect', 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n', '501 Not Implemented', 'connect is not supported'],
  ]
  for (const [reason, request, status, error] of cases) {
    const app = build(t)
    const port = await listen(app)
    const before = await scrape(app)
    const answer = await exchange(port, request)
    t.strictSame(refusal(answer), [`HTTP/1.1 ${status}`, error])
    // RFC 9110 section 6.6.1: a server that has a clock sends Date.
    t.match(answer, /\r\ndate: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\n/i)
    const after = await scrape(app)
    t.equal(after[rejectionCount(reason)], 1, reason)
    const counts = (series: Record<string, number>) =>
      Object.entries(series).filter(([name]) => name.startsWith('http_request_duration_seconds'))
    t.strictSame(counts(after), counts(before))
    t.equal(after.http_requests_in_flight, 0)
    t.equal((await send({ port, path: '/livez' })).statusCode, 200, 'the service goes on')
  }
})

t.test('a refusal of HEAD has no body, wherever it is refused', async (t) => {
  const port = await listen(build(t))
  const head = 'HEAD / HTTP/1.1\r\nHost: a\r\n'
  const cases: [string, string[], number][] = [
    ['a header that is none', [`${head}nonsense\r\n\r\n`], 400],
    ['too many bytes', [`${head}X: ${'x'.repeat(20_000)}\r\n\r\n`], 431],
    ['a path', [`HEAD /%zz HTTP/1.1\r\n${HEAD}`], 400],
    ['no Host', ['HEAD / HTTP/1.1\r\n\r\n'], 400],
    ['a version', ['HEAD / HTTP/2.0\r\n\r\n'], 505],
  ]
  for (const [name, bytes, statusCode] of cases) {
    t.match(await exchange(port, ...bytes), new RegExp(`^HTTP/1.1 ${statusCode} [^]*\r\n\r\n$`), name)
    const pipelined = await exchange(port, 'GET /livez HTTP/1.1\r\nHost: a\r\n\r\n', ...bytes)
    t.match(pipelined, new RegExp(`"ok"}HTTP/1.1 ${statusCode} [^]*\r\n\r\n$`), `${name}, behind a GET`)
  }
  const get = await exchange(
    port,
    'HEAD /livez HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nnonsense\r\n\r\n',
  )
  t.match(get, /"malformed request"}$/, 'a GET behind a HEAD has one')
})

t.test(
  'a body that is malformed in mid-upload ends that request as 400, and nothing is stored',
  async (t) => {
    const app = build(t)
    const port = await listen(app)
    const answer = await exchange(
      port,
      'PUT /api/buckets/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n',
      'nonsense\r\n',
    )
    t.strictSame(refusal(answer), ['HTTP/1.1 400 Bad Request', 'malformed request'])
    await until(async () => (await scrape(app)).storage_bytes === 0)
    const series = await scrape(app)
    t.equal(series[requestCount('PUT', '/api/buckets/:id', 400)], 1)
    t.equal(series[rejectionCount('malformed')], 0)
    t.match(series, { http_requests_in_flight: 0, storage_objects: 0, storage_bytes: 0 })
  },
)

t.test('a request that does not arrive in time is 408, and is not acted on if the rest comes', async (t) => {
  const app = build(t)
  Object.assign(app.server, { headersTimeout: 50, requestTimeout: 50 })
  const port = await listen(app)
  await app.inject({ method: 'PUT', url: '/api/buckets/victim', payload: 'x' })
  const cases: [string, string][] = [
    ['DELETE /api/buckets/victim HTTP/1.1\r\nHost: a\r\n', '\r\n'],
    ['PUT /api/buckets/a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf', ' more.'],
  ]
  const unused = connect(port, '127.0.0.1').resume()
  await Promise.all([
    once(unused, 'close'),
    ...cases.map(async ([begun, rest]) => {
      const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
      socket.write(begun)
      let answer = ''
      socket.on('data', (chunk) => {
        answer += chunk
      })
      await once(socket, 'end')
      t.strictSame(refusal(answer), ['HTTP/1.1 408 Request Timeout', 'request not received in time'])
      socket.end(rest)
      await once(socket, 'close')
    }),
  ])
  const series = await scrape(app)
  t.equal(series[rejectionCount('timeout')], 1, 'nor is a connection that was never used')
  t.equal(series[requestCount('PUT', '/api/buckets/:id', 408)], 1)
  t.equal(series['http_connections_closed_total{reason="timeout"}'], 2)
  t.equal(series['http_connections_closed_total{reason="idle"}'], 1)
  t.match(series, { http_requests_in_flight: 0, storage_objects: 1 })
  t.equal((await app.inject('/api/buckets/victim')).statusCode, 200)
  t.equal((await app.inject('/api/buckets/a')).statusCode, 404)
})

t.test(
  'a body that is malformed after its answer closes the connection, and gets no second answer',
  async (t) => {
    const app = build(t)
    const port = await listen(app)
    const head = `PUT /api/buckets/${'x'.repeat(513)} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n`
    for (const rest of [['nonsense\r\n'], ['5\r\nhello\r\n', 'nonsense\r\n']]) {
      const answer = await exchange(port, head, ...rest)
      t.match(answer, /^HTTP\/1.1 414 /)
      t.equal(answer.match(/HTTP\/1.1 /g)?.length, 1)
    }
    t.match(await scrape(app), {
      http_requests_in_flight: 0,
      [rejectionCount('malformed')]: 0,
    })
  },
)

t.test('a body that is malformed when its answer has begun only closes the connection', async (t) => {
  const app = build(t, { MAX_OBJECT_BYTES: '100000000' })
  const port = await listen(app)
  await send({ port, path: '/api/buckets/large', method: 'PUT' }, Buffer.alloc(50_000_000))
  const socket = connect(port, '127.0.0.1').on('error', () => {})
  socket.write('GET /api/buckets/large HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n')
  const [first] = await once(socket, 'data')
  t.match(`${first.subarray(0, 20)}`, /^HTTP\/1.1 200 OK/)
  socket.pause().write('nonsense\r\n')
  await until(async () => (await scrape(app)).http_requests_in_flight === 0)
  t.equal((await scrape(app))[requestCount('GET', '/api/buckets/:id', 499)], 1)
})

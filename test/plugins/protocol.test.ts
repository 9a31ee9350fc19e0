import { once } from 'node:events'
import { createServer, METHODS } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import t from 'tap'
import {
  build,
  exchange,
  listen,
  parserMethods,
  refusal,
  rejectionCount,
  requestCount,
  scrape,
  send,
  until,
} from '../helper.ts'

const OBJECT = '/api/buckets/a'
const PUT = `PUT ${OBJECT} HTTP/1.1\r\nHost: a\r\n`
const CHUNKED = `${PUT}Transfer-Encoding: chunked\r\n\r\n`

const MALFORMED = 'malformed request'
const HOST = 'there must be one host header, and a valid one'
const CODING = 'transfer-encoding must be chunked or absent'
const VERSION = 'http version must be 1.1 or 1.0'

t.test(
  'what RFC 9112 has a server refuse is refused, stores nothing, and closes the connection',
  async (t) => {
    const cases: Record<string, [string, number, string]> = {
      'two Hosts': [`GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n`, 400, HOST],
      'the same Host twice': [`GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n`, 400, HOST],
      'a second Host behind many headers': [
        `GET / HTTP/1.1\r\nHost: a\r\n${'a:\r\n'.repeat(3000)}Host: b\r\n\r\n`,
        431,
        'too many headers: at most 100',
      ],
      'no Host': ['GET / HTTP/1.1\r\n\r\n', 400, HOST],
      'a Host with a space': ['GET / HTTP/1.1\r\nHost: a b\r\n\r\n', 400, HOST],
      'a Host with a path': ['GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', 400, HOST],
      'a Host with a list': ['GET / HTTP/1.1\r\nHost: a, b\r\n\r\n', 400, HOST],
      'a Host with a port that is none': ['GET / HTTP/1.1\r\nHost: a:b\r\n\r\n', 400, HOST],
      'a transfer coding before chunked': [
        `${PUT}Transfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n`,
        501,
        CODING,
      ],
      'a transfer coding on a line before chunked': [
        `${PUT}Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n`,
        501,
        CODING,
      ],
      'a transfer coding after chunked': [`${PUT}Transfer-Encoding: chunked, gzip\r\n\r\n`, 400, MALFORMED],
      'chunked twice': [`${PUT}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n`, 400, MALFORMED],
      'a transfer coding without chunked': [`${PUT}Transfer-Encoding: gzip\r\n\r\nx`, 501, CODING],
      'a transfer coding that is not chunked': [`${PUT}Transfer-Encoding: xchunked\r\n\r\nx`, 501, CODING],
      'chunked in HTTP/1.0': [
        `PUT ${OBJECT} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n`,
        400,
        'transfer-encoding is not part of http/1.0',
      ],
      'a length and chunked': [
        `${PUT}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n`,
        400,
        MALFORMED,
      ],
      'chunked and a length': [
        `${PUT}Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n1\r\nx\r\n0\r\n\r\n`,
        400,
        MALFORMED,
      ],
      'two lengths': [`${PUT}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx`, 400, MALFORMED],
      'a list of lengths': [`${PUT}Content-Length: 1, 1\r\n\r\nx`, 400, MALFORMED],
      'a length with a sign': [`${PUT}Content-Length: +1\r\n\r\nx`, 400, MALFORMED],
      'a negative length': [`${PUT}Content-Length: -1\r\n\r\nx`, 400, MALFORMED],
      'a hexadecimal length': [`${PUT}Content-Length: 0x1\r\n\r\nx`, 400, MALFORMED],
      'an empty length': [`${PUT}Content-Length:\r\n\r\nx`, 400, MALFORMED],
      'a length beyond 64 bits': [`${PUT}Content-Length: 99999999999999999999\r\n\r\nx`, 400, MALFORMED],
      'bare LF': [`GET ${OBJECT} HTTP/1.1\nHost: a\n\n`, 400, MALFORMED],
      'bare LF after a header': [`GET ${OBJECT} HTTP/1.1\r\nHost: a\nX: y\r\n\r\n`, 400, MALFORMED],
      'bare LF at the end': [`GET ${OBJECT} HTTP/1.1\r\nHost: a\r\n\n`, 400, MALFORMED],
      'bare CR': [`GET ${OBJECT} HTTP/1.1\r\nHost: a\rX: y\r\n\r\n`, 400, MALFORMED],
      'NUL in a header': [`GET ${OBJECT} HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n`, 400, MALFORMED],
      'white space before the colon': [`GET ${OBJECT} HTTP/1.1\r\nHost : a\r\n\r\n`, 400, MALFORMED],
      'a folded header': [`GET ${OBJECT} HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n`, 400, MALFORMED],
      'white space before the first header': [`GET ${OBJECT} HTTP/1.1\r\n Host: a\r\n\r\n`, 400, MALFORMED],
      'a header without a colon': [`GET ${OBJECT} HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n`, 400, MALFORMED],
      'a header without a name': [`GET ${OBJECT} HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n`, 400, MALFORMED],
      'a method that is no token': [`GE(T ${OBJECT} HTTP/1.1\r\nHost: a\r\n\r\n`, 400, MALFORMED],
      'a method in lower case': [`get ${OBJECT} HTTP/1.1\r\nHost: a\r\n\r\n`, 400, MALFORMED],
      'a space in the target': ['GET /a b HTTP/1.1\r\nHost: a\r\n\r\n', 400, MALFORMED],
      'a target that is no path': ['GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n', 400, MALFORMED],
      'HTTP/2.0': [`GET ${OBJECT} HTTP/2.0\r\nHost: a\r\n\r\n`, 505, VERSION],
      "HTTP/2's preface": ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, MALFORMED],
      'HTTP/0.9': [`GET ${OBJECT} HTTP/0.9\r\n\r\n`, 505, VERSION],
      'HTTP/1.2': [`GET ${OBJECT} HTTP/1.2\r\nHost: a\r\n\r\n`, 400, MALFORMED],
      'http/1.1': [`GET ${OBJECT} http/1.1\r\nHost: a\r\n\r\n`, 400, MALFORMED],
      'a chunk size that is none': [`${CHUNKED}zz\r\nx\r\n0\r\n\r\n`, 400, MALFORMED],
      'a chunk size with a prefix': [`${CHUNKED}0x1\r\nx\r\n0\r\n\r\n`, 400, MALFORMED],
      'a chunk size beyond 64 bits': [`${CHUNKED}fffffffffffffffff\r\nx\r\n0\r\n\r\n`, 400, MALFORMED],
      'chunks that end in LF': [`${CHUNKED}1\nx\n0\n\n`, 400, MALFORMED],
      'a chunk longer than its size': [`${CHUNKED}1\r\nxy0\r\n\r\n`, 400, MALFORMED],
      'LF in a chunk extension': [`${CHUNKED}1;a\nb\r\nx\r\n0\r\n\r\n`, 400, MALFORMED],
      'a chunk extension of 20 kB': [`${CHUNKED}1;${'a'.repeat(20_000)}\r\nx\r\n0\r\n\r\n`, 400, MALFORMED],
      'trailers of 20 kB': [
        `${CHUNKED}1\r\nx\r\n0\r\nX: ${'y'.repeat(20_000)}\r\n\r\n`,
        431,
        'request line and headers too large: at most 16384 bytes',
      ],
      'a URL of 20 kB': [
        `GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: a\r\n\r\n`,
        431,
        'request line and headers too large: at most 16384 bytes',
      ],
      'an expectation that nobody meets beside one that is met': [
        `${PUT}Content-Length: 1\r\nExpect: 100-continue, cake\r\n\r\nx`,
        417,
        'expect must be 100-continue or absent',
      ],
      'an expectation that nobody meets': [
        `${PUT}Content-Length: 1\r\nExpect: cake\r\n\r\nx`,
        417,
        'expect must be 100-continue or absent',
      ],
    }
    const app = build(t)
    const port = await listen(app)
    for (const [name, [request, statusCode, error]] of Object.entries(cases)) {
      // The rest of the connection is ignored.
      const answer = await exchange(port, `${request}${PUT}Content-Length: 8\r\n\r\nsmuggled`)
      const [status, message] = refusal(answer)
      t.match(status, `HTTP/1.1 ${statusCode} `, name)
      t.equal(message, error, name)
      t.match(answer, /\r\nconnection: close\r\n/i, name)
      t.equal(answer.match(/HTTP\/1\.1 /g)?.length, 1, `one answer to ${name}`)
    }
    t.match(await scrape(app), {
      ...{ storage_objects: 0, storage_bytes: 0, http_requests_in_flight: 0 },
      [rejectionCount('version')]: 2,
      [rejectionCount('host')]: 7,
      [rejectionCount('transfer_coding')]: 4,
      [rejectionCount('http10_transfer_coding')]: 1,
      [rejectionCount('expectation')]: 2,
      [rejectionCount('header_count')]: 1,
    })
  },
)

t.test('no method or version that the parser knows beyond HTTP reaches the router', async (t) => {
  const reference = createServer((_request, response) => response.end()).listen(0, '127.0.0.1')
  t.after(() => reference.close())
  reference.on('connect', (_request, socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n'))
  await once(reference, 'listening')
  const lines: Record<string, unknown>[] = []
  const app = build(t, { LOG_LEVEL: 'warn' }, lines)
  const port = await listen(app)

  const status = async (port: number, firstLine: string) =>
    Number((await exchange(port, `${firstLine}\r\nHost: a\r\nConnection: close\r\n\r\n`)).slice(9, 12))
  const refused: Record<string, number> = { method: 0, version: 0, connect: 0 }
  for (const method of parserMethods()) {
    for (const protocol of ['HTTP', 'RTSP', 'ICE']) {
      for (const version of ['0.9', '1.0', '1.1', '2.0']) {
        const firstLine = `${method} /a ${protocol}/${version}`
        if ((await status((reference.address() as AddressInfo).port, firstLine)) !== 200) continue
        // The parser does not tell the protocol: with HTTP's own methods and versions it is HTTP,
        // and answered as such.
        let [expected, reason] = [404, '']
        if (method === 'CONNECT') [expected, reason] = [501, 'connect']
        else if (!METHODS.includes(method)) [expected, reason] = [501, 'method']
        else if (version !== '1.0' && version !== '1.1') [expected, reason] = [505, 'version']
        t.equal(await status(port, firstLine), expected, firstLine)
        if (reason in refused) (refused[reason] as number)++
      }
    }
  }
  t.ok((refused.method as number) > 40 && (refused.version as number) > 60, JSON.stringify(refused))
  const page = await scrape(app)
  for (const [reason, count] of Object.entries(refused)) t.equal(page[rejectionCount(reason)], count)
  t.strictSame(
    lines.map(({ reason, count }) => [reason, count]).sort(),
    Object.keys(refused)
      .map((reason) => [reason, 1])
      .sort(),
    'one line for each reason, and none of the router',
  )
  await app.close()
  for (const [reason, count] of Object.entries(refused))
    t.match(
      lines.findLast((line) => line.reason === reason),
      { count: count - 1, address: '127.0.0.1' },
    )
})

t.test('a refusal waits for its turn, and what follows it on the connection is not acted on', async (t) => {
  const app = build(t)
  const port = await listen(app)
  const put = (id: string) => `PUT /api/buckets/${id} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx`
  const answers = await exchange(port, `${put('a')}PLAY /b RTSP/1.1\r\n\r\n${put('c')}nonsense`)
  t.match(answers, /^HTTP\/1.1 201 .*HTTP\/1.1 501 Not Implemented\r\n.*"method is not implemented"}$/s)
  t.match(await scrape(app), { storage_objects: 1, http_requests_in_flight: 0 })
})

t.test('what is refused whatever its path is refused on every path, and says the same', async (t) => {
  const port = await listen(build(t))
  for (const path of ['/metrics', '/livez', '/docs', '/api/buckets', OBJECT, '/nowhere']) {
    for (const method of ['GET', 'POST']) {
      const answer = await exchange(port, `${method} ${path} HTTP/1.1\r\n\r\n`)
      t.strictSame(refusal(answer), ['HTTP/1.1 400 Bad Request', HOST], `${method} ${path}`)
    }
    const answer = await exchange(port, `HEAD ${path} HTTP/1.1\r\n\r\n`)
    t.match(answer, /^HTTP\/1.1 400 .*\r\n\r\n$/s, `HEAD ${path} has no body`)
  }
})

t.test('what RFC 9112 allows is served', async (t) => {
  const app = build(t)
  const port = await listen(app)
  await send({ port, path: OBJECT, method: 'PUT' }, Buffer.from('x'))
  const cases: Record<string, string> = {
    'an empty expectation': `${PUT}Content-Length: 1\r\nConnection: close\r\nExpect:\r\n\r\nx`,
    'a list of no expectations': `${PUT}Content-Length: 1\r\nConnection: close\r\nExpect: ,\r\n\r\nx`,
    'HTTP/1.0 without a Host': `GET ${OBJECT} HTTP/1.0\r\n\r\n`,
    'HTTP/1.0, where an expectation means nothing': `PUT ${OBJECT} HTTP/1.0\r\nContent-Length: 1\r\nExpect: cake\r\n\r\nx`,
    'an empty Host': `GET ${OBJECT} HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n`,
    'a Host with a port': `GET ${OBJECT} HTTP/1.1\r\nHost: a.b-c_d:80\r\nConnection: close\r\n\r\n`,
    'a Host of IPv6': `GET ${OBJECT} HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n`,
    'a target in absolute form': `GET http://b${OBJECT} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    'an empty line before the request': `\r\nGET ${OBJECT} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    'chunked in capitals': `${PUT}Transfer-Encoding: CHUNKED\r\nConnection: close\r\n\r\n1\r\nx\r\n0\r\n\r\n`,
    'chunk extensions and trailers': `${PUT}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n1;a=b\r\nx\r\n0\r\nX: y\r\n\r\n`,
  }
  for (const [name, request] of Object.entries(cases)) {
    t.match(await exchange(port, request), /^HTTP\/1.1 20[04] /, name)
  }
  t.equal((await send({ port, path: OBJECT })).body.toString(), 'x')
})

t.test('a body that a client asks about is asked for only if it is wanted', async (t) => {
  const expecting = 'Expect: 100-continue\r\n'
  const cases: Record<string, [number, NodeJS.ProcessEnv, string]> = {
    'too large': [413, {}, `PUT ${OBJECT} HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n${expecting}\r\n`],
    'no room': [507, { MAX_STORE_BYTES: '10' }, `${PUT}Content-Length: 50\r\n${expecting}\r\n`],
    'a failed precondition': [412, {}, `${PUT}Content-Length: 5\r\nIf-Match: *\r\n${expecting}\r\n`],
    'no token': [401, { AUTH_TOKENS: 'secret' }, `${PUT}Content-Length: 5\r\n${expecting}\r\n`],
    'an encoding': [415, {}, `${PUT}Content-Length: 5\r\nContent-Encoding: gzip\r\n${expecting}\r\n`],
    'a parameter': [
      400,
      {},
      `PUT ${OBJECT}?ttl=x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n${expecting}\r\n`,
    ],
    'no id': [400, {}, `PUT /api/buckets/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n${expecting}\r\n`],
    'no such path': [404, {}, `PUT /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n${expecting}\r\n`],
    'no such method': [
      405,
      {},
      `POST ${OBJECT} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n${expecting}\r\n`,
    ],
  }
  for (const [name, [statusCode, env, request]] of Object.entries(cases)) {
    const app = build(t, { MAX_OBJECT_BYTES: '100', ...env })
    const answer = await exchange(await listen(app), request)
    t.match(answer, new RegExp(`^HTTP/1.1 ${statusCode} `), name)
    t.match(answer, /\r\nconnection: close\r\n/i, `${name}: the body may come or not`)
    t.match(await scrape(app), { storage_bytes: 0, http_requests_in_flight: 0 })
  }

  const app = build(t)
  const socket = connect(await listen(app), '127.0.0.1')
  t.after(() => socket.destroy())
  let answers = ''
  socket.on('data', (chunk) => {
    answers += chunk
  })
  for (const statusCode of [201, 204]) {
    answers = ''
    socket.write(`${PUT}Content-Length: 5\r\nExpect: 100-Continue\r\n\r\n`)
    await until(() => answers === 'HTTP/1.1 100 Continue\r\n\r\n')
    socket.write('hello')
    await until(() => answers.includes(`\r\n\r\nHTTP/1.1 ${statusCode} `))
  }
  t.equal((await scrape(app))[requestCount('PUT', '/api/buckets/:id', 201)], 1)
})

t.test('a client that asks while the service drains gets its answer, and Connection: close', async (t) => {
  const app = build(t)
  const socket = connect(await listen(app), '127.0.0.1')
  app.lifecycle.drain()
  let answers = ''
  socket.on('data', (chunk) => {
    answers += chunk
  })
  socket.write(`${PUT}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n`)
  await until(() => answers === 'HTTP/1.1 100 Continue\r\n\r\n')
  socket.write('hello')
  await until(() => socket.destroyed || socket.closed)
  t.match(answers, /HTTP\/1.1 201 Created\r\n.*connection: close\r\n/is)
})

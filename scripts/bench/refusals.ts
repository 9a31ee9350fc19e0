/**
 * Measures the processor time of rejected requests and of a GET of 100 bytes, and prints a table:
 * `npm run bench:refusals`. Options: `--rounds`, `--seconds`, and `--only` to select rejections by
 * a part of their names. A rejection that closes its connection is compared with a GET that closes
 * it too.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { parseArgs } from 'node:util'
import { freePorts, stop } from '../../test/process.ts'
import { median, WARM_UP_SECONDS } from './compare.ts'
import { storageApi } from './contenders.ts'
import { cpuMicroseconds, listening, start } from './process.ts'

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '9' },
    seconds: { type: 'string', default: '0.3' },
    only: { type: 'string', default: '' },
  },
})

const CONNECTIONS = 32
const TOKEN = 'secret'
const OBJECT = '/api/buckets/object'
const HEADERS = `Host: a\r\nAuthorization: Bearer ${TOKEN}\r\n`
const CLOSE = 'Connection: close\r\n'

const request = (firstLine: string, ...headers: string[]) =>
  `${firstLine} HTTP/1.1\r\n${HEADERS}${headers.map((header) => `${header}\r\n`).join('')}\r\n`
const put = (...headers: string[]) => request(`PUT ${OBJECT}`, 'Content-Length: 0', ...headers)

const GET = request(`GET ${OBJECT}`)

/** Requests that are rejected on a connection that stays open, by the status of the response. */
const KEPT: Record<string, string> = {
  '400 id': request('GET /api/buckets/..'),
  '400 id with a control character': request('GET /api/buckets/%00'),
  '400 limit': request('GET /api/buckets?limit=x'),
  '400 ttl': request(`PUT ${OBJECT}?ttl=x`, 'Content-Length: 0'),
  '400 query': request('GET /api/buckets?prefix=%zz'),
  '400 cursor': request('GET /api/buckets?cursor=!'),
  '400 If-Match': request(`GET ${OBJECT}`, 'If-Match: x'),
  '400 Content-Range': put('Content-Range: bytes 0-0/1'),
  '401 no token': `GET ${OBJECT} HTTP/1.1\r\nHost: a\r\n\r\n`,
  '401 wrong token': `GET ${OBJECT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer wrong\r\n\r\n`,
  '404 object': request('GET /api/buckets/none'),
  '404 path': request('GET /nowhere'),
  '404 path, another method': request('PROPFIND /nowhere'),
  '405 method': request(`POST ${OBJECT}`),
  '412 GET': request(`GET ${OBJECT}`, 'If-Match: "x"'),
  '412 PUT': put('If-Match: "x"'),
  '413 object': `${request(`PUT ${OBJECT}`, 'Content-Length: 101').trimEnd()}\r\n\r\n${'x'.repeat(101)}`,
  '414 id': request(`GET /api/buckets/${'x'.repeat(513)}`),
  '415 encoding': put('Content-Encoding: gzip'),
  '416 range': request(`GET ${OBJECT}`, 'Range: bytes=1000-'),
}

/** Requests that are rejected and whose connections are closed. */
const CLOSED: Record<string, string> = {
  '400 path': request('GET /%zz'),
  '400 Host': 'GET / HTTP/1.1\r\n\r\n',
  '400 HTTP/1.0 with a coding': 'PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  '400 malformed': 'nonsense\r\n\r\n',
  '400 malformed header': request('GET /', 'nonsense'),
  '417 expectation': request('GET /', 'Expect: cake'),
  '431 too many headers': request('GET /', ...Array<string>(101).fill('a:')),
  '431 too large': request('GET /', `X: ${'x'.repeat(17_000)}`),
  '501 method': request('PLAY /').replace('HTTP', 'RTSP'),
  '501 coding': request('PUT /', 'Transfer-Encoding: gzip'),
  '501 CONNECT': request('CONNECT a:1'),
  '505 version': request('GET /').replace('1.1', '2.0'),
}

/**
 * Sends one request after another on one connection until the deadline. Returns the number of
 * responses.
 */
function keep(port: number, bytes: string, status: string, deadline: number): Promise<number> {
  // Without a promise per request. If the client is slower than the server, the server sleeps, and
  // every request wakes it.
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    let answers = 0
    socket.once('error', reject).on('data', (answer: Buffer) => {
      if (!isStatus(answer, status)) reject(new Error(`${answer.toString('latin1')}\nis not ${status}`))
      answers++
      if (performance.now() < deadline) return void socket.write(bytes, 'latin1')
      socket.destroy()
      resolve(answers)
    })
    socket.write(bytes, 'latin1')
  })
}

/** Opens one connection after another until the deadline. Returns their number. */
async function reconnect(port: number, bytes: string, status: string, deadline: number): Promise<number> {
  let answers = 0
  for (; performance.now() < deadline; answers++) {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    socket.write(bytes, 'latin1')
    const [answer] = await once(socket, 'data')
    if (!isStatus(answer, status)) throw new Error(`${answer.toString('latin1')}\nis not ${status}`)
    await once(socket.resume(), 'close')
  }
  return answers
}

const isStatus = (answer: Buffer, status: string) => answer.toString('latin1', 9, 12) === status

const [port = 0] = await freePorts(1)
const env = { AUTH_TOKENS: TOKEN, MAX_OBJECT_BYTES: '100', LOG_LEVEL: 'info' }
const child = start(storageApi([], env)(port), 'measured')
child.stdout?.resume()

/** The processor time of a request in microseconds, measured for this many seconds. */
async function cost(send: typeof keep, bytes: string, status: string, seconds: number): Promise<number> {
  const before = cpuMicroseconds(child.pid as number)
  const deadline = performance.now() + seconds * 1000
  const answers = await Promise.all(
    Array.from({ length: CONNECTIONS }, () => send(port, bytes, status, deadline)),
  )
  return (cpuMicroseconds(child.pid as number) - before) / answers.reduce((a, b) => a + b, 0)
}

async function measure(send: typeof keep, get: string, refusals: Record<string, string>): Promise<void> {
  await cost(send, get, '200', WARM_UP_SECONDS)
  for (const [name, bytes] of Object.entries(refusals)) {
    if (!name.includes(options.only)) continue
    const status = name.slice(0, 3)
    await cost(send, bytes, status, 1)
    const [ratios, costs]: number[][] = [[], []]
    for (let round = 0; round < Number(options.rounds); round++) {
      const ofGet = await cost(send, get, '200', Number(options.seconds))
      const ofRefusal = await cost(send, bytes, status, Number(options.seconds))
      ratios?.push(ofRefusal / ofGet)
      costs?.push(ofRefusal)
    }
    console.log(`| ${name} | ${median(costs ?? []).toFixed(1)} | ${median(ratios ?? []).toFixed(2)} |`)
  }
}

// The client never sleeps. The server's kernel would have to wake it, which would add to the cost
// of a GET, and less to the cost of a rejection.
let isLoading = true
const poll = () => void (isLoading && setImmediate(poll))
poll()
try {
  await listening(port, child)
  const body = 'x'.repeat(100)
  const stored = `${request(`PUT ${OBJECT}`, 'Content-Length: 100', CLOSE.trimEnd())}${body}`
  await reconnect(port, stored, '201', performance.now() + 1).catch(() => {})
  console.log('| refusal | CPU, us | to a GET of 100 B |\n|---|---|---|')
  await measure(keep, GET, KEPT)
  console.log(
    '\n| refusal that closes its connection | CPU, us | to a GET of 100 B that does |\n|---|---|---|',
  )
  await measure(reconnect, request(`GET ${OBJECT}`, CLOSE.trimEnd()), CLOSED)
} finally {
  isLoading = false
  await stop(child)
}

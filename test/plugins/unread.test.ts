import { EventEmitter, once } from 'node:events'
import { connect, Socket } from 'node:net'
import t, { type Test } from 'tap'
import { UNREAD } from '../../src/http/one-write-response.ts'
import { build, listen, send, until } from '../helper.ts'

/**
 * A client that sends many requests and never reads. The kernel holds some megabytes of responses,
 * and the service the next one.
 */
function deafClient(t: Test, port: number, path: string, times = 2000) {
  const socket = connect(port, '127.0.0.1')
    .on('error', () => {})
    .pause()
  t.after(() => socket.destroy())
  socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`.repeat(times))
  return socket
}

t.test(
  'a client that does not read is cut after RESPONSE_TIMEOUT_SECONDS, whatever it asks for',
  async (t) => {
    for (const path of [
      '/metrics',
      '/openapi.json',
      '/docs/static/swagger-ui-bundle.js',
      '/api/buckets/large',
    ]) {
      const app = build(t, { RESPONSE_TIMEOUT_SECONDS: '1' })
      const port = await listen(app)
      await send({ port, path: '/api/buckets/large', method: 'PUT' }, Buffer.alloc(10_000_000))
      const socket = deafClient(t, port, path)
      await until(() => app.sockets.closed.timeout === 1)
      await until(() => app.sockets.count === 0)
      socket.destroy()
    }
  },
)

t.test('answers that are read in the end are answers like any other', async (t) => {
  const app = build(t)
  const port = await listen(app)
  await send({ port, path: '/api/buckets/large', method: 'PUT' }, Buffer.alloc(10_000_000))
  for (const path of ['/docs/static/swagger-ui-bundle.js', '/api/buckets/large']) {
    const { body } = await send({ port, path })
    const socket = deafClient(t, port, path, 20)
    await once(socket, 'connect')
    await until(() => app.connections.replies().length === 1)
    let bytes = 0
    socket.on('data', (chunk) => {
      bytes += chunk.length
    })
    socket.resume()
    await until(() => bytes > 20 * body.length && app.connections.replies().length === 0)
    socket.destroy()
  }
  t.strictSame(app.sockets.closed, { limit: 0, idle: 0, timeout: 0 })
})

t.test(
  'answers that nobody reads are bounded: the one that has waited longest gives way, and all others are served',
  async (t) => {
    const lines: Record<string, unknown>[] = []
    const app = build(t, { LOG_LEVEL: 'warn' }, lines)
    const port = await listen(app)
    for (let i = 0; i < 1000; i++) {
      await app.inject({ method: 'PUT', url: `/api/buckets/${`${i}`.padEnd(512, '"')}` })
    }
    // A slow machine must not make pages shorter.
    t.intercept(performance, 'now', { value: () => 0 })
    const { body } = await send({ port, path: '/api/buckets?limit=1000' })
    const fitting = Math.floor((32 * 2 ** 20) / body.length)
    t.ok(fitting > 10 && fitting < 40, `${fitting} answers of ${body.length} bytes`)

    const waiting = () =>
      app.connections
        .replies()
        .map(({ request }) => request.raw.socket)
        .filter((socket) => socket.writableLength > 0)
        .map((socket) => socket.remotePort)
    const ports: (number | undefined)[] = []
    for (let i = 0; i < fitting + 20; i++) {
      const socket = deafClient(t, port, '/api/buckets?limit=1000', 20)
      await once(socket, 'connect')
      ports.push(socket.localPort)
      // One after another, so that the test knows which one has waited longest.
      await until(() => waiting().includes(socket.localPort))
      t.equal((await send({ port, path: '/api/buckets?limit=1000' })).statusCode, 200)
    }
    t.strictSame(waiting(), ports.slice(-fitting))
    t.equal(app.sockets.closed.limit, 20)
    t.match(lines, [{ reason: 'limit', msg: 'connection closed: too many bytes are unread', count: 1 }])
  },
)

t.test(
  'however short they are, answers that nobody reads wait on half of the connections at most',
  async (t) => {
    const app = build(t, { MAX_CONNECTIONS: '8' })
    await app.ready()
    const responses = Array.from({ length: 7 }, () => new EventEmitter())
    for (const [i, response] of responses.entries()) {
      app.server.emit(UNREAD, response, new Socket(), true)
      t.equal(app.sockets.closed.limit, Math.max(0, i + 1 - 4))
    }
    for (const response of responses) response.emit('close')
    for (let i = 0; i < 4; i++) app.server.emit(UNREAD, responses[i], new Socket(), true)
    t.equal(app.sockets.closed.limit, 3, 'what has been read does not count')
    for (const response of responses) response.emit('close')
  },
)

t.test('objects that nobody reads take no memory of their own, and do not count', async (t) => {
  const app = build(t)
  const port = await listen(app)
  await send({ port, path: '/api/buckets/large', method: 'PUT' }, Buffer.alloc(16_000_000))
  for (let i = 1; i <= 10; i++) {
    deafClient(t, port, '/api/buckets/large', 2)
    await until(() => app.connections.replies().length === i)
  }
  t.equal(app.sockets.closed.limit, 0)
})

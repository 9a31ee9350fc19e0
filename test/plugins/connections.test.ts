import { once } from 'node:events'
import { connect, Socket } from 'node:net'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import type { FastifyReply } from 'fastify'
import t, { type Test } from 'tap'
import { build, exchange, listen, scrape, send, until } from '../helper.ts'

/** The parts of a complete request that the plugin reads. */
const reply = { request: { raw: { complete: true } } } as FastifyReply

t.test('pipelined requests on one connection act in order', async (t) => {
  const app = build(t)
  const port = await listen(app)
  const pairs = Array.from({ length: 500 }, (_, i) => {
    const path = `/api/buckets/${i % 7}`
    const body = `value ${i}`
    return (
      `PUT ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}` +
      `GET ${path} HTTP/1.1\r\nHost: a\r\n${i === 499 ? 'Connection: close\r\n' : ''}\r\n`
    )
  })
  const answer = await exchange(port, pairs.join(''))
  t.strictSame(
    [...answer.matchAll(/value \d+/g)].map(([body]) => body),
    Array.from({ length: 500 }, (_, i) => `value ${i}`),
  )
})

t.test('a request waits for the one before it, even if that one takes its time', async (t) => {
  const app = build(t)
  const order: string[] = []
  app.get('/slow', async () => {
    order.push('slow begins')
    await sleep(20)
    order.push('slow ends')
    return 'slow'
  })
  app.get('/fast', async () => {
    order.push('fast')
    return 'fast'
  })
  const port = await listen(app)
  await exchange(
    port,
    'GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /fast HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
  )
  t.strictSame(order, ['slow begins', 'slow ends', 'fast'])
})

t.test(
  'one request of a connection begins in each turn of the event loop, however many are pipelined',
  async (t) => {
    const app = build(t)
    let begun = 0
    let most = 0
    app.get('/counted', () => {
      most = Math.max(most, ++begun)
      setImmediate().then(() => {
        begun = 0
      })
      return 'counted'
    })
    const requests = 'GET /counted HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(50)
    await exchange(
      await listen(app),
      `${requests}GET /counted HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    )
    t.equal(most, 1)
  },
)

t.test(
  'over all connections one waiting request begins in each turn of the event loop, in rotation',
  async (t) => {
    const app = build(t)
    await app.ready()
    const begun: string[] = []
    const open = (name: string) => {
      const socket = new Socket()
      for (const n of [1, 2, 3])
        app.connections.enter(socket, reply, () => {
          begun.push(name + n)
          // The first requests are answered below, the others at once.
          if (n > 1) app.connections.leave(socket)
        })
      return socket
    }
    const sockets = ['a', 'b', 'c', 'd'].map(open)
    t.strictSame(begun, ['a1', 'b1', 'c1', 'd1'])
    for (const socket of sockets) app.connections.leave(socket)
    await once((sockets[2] as Socket).destroy(), 'close')
    for (let turn = 1; turn <= 10; turn++) {
      const before = begun.length
      await setImmediate()
      t.ok(begun.length <= before + 1, `turn ${turn}`)
    }
    t.strictSame(begun.slice(4), ['a2', 'b2', 'd2', 'a3', 'b3', 'd3'], 'the closed connection has left')
  },
)

t.test('garbage after a request is refused after its answer, which is not lost', async (t) => {
  const app = build(t)
  app.get('/slow', async () => {
    await sleep(20)
    return 'slow'
  })
  const answer = await exchange(await listen(app), 'GET /slow HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n')
  t.match(answer, /^HTTP\/1.1 200 OK.*slowHTTP\/1.1 400 Bad Request.*malformed request/s)
})

t.test(
  'a pipelined request whose body is garbage is refused when its turn comes, and never begins',
  async (t) => {
    const app = build(t)
    const port = await listen(app)
    const put = (id: string) => `PUT /api/buckets/${id} HTTP/1.1\r\nHost: a\r\n`
    const garbage = 'Transfer-Encoding: chunked\r\n\r\nnonsense\r\n'
    const answer = await exchange(port, `${put('a')}Content-Length: 1\r\n\r\nx${put('b')}${garbage}`)
    t.match(answer, /^HTTP\/1.1 201 Created.*HTTP\/1.1 400 Bad Request.*malformed request"}$/s)
    t.match(await scrape(app), {
      http_requests_in_flight: 0,
      storage_objects: 1,
      'http_requests_rejected_total{reason="malformed"}': 1,
    })
  },
)

t.test('a connection goes on after a large answer that requests were waiting behind', async (t) => {
  const app = build(t)
  const port = await listen(app)
  const path = '/api/buckets/large'
  await send({ port, path, method: 'PUT' }, Buffer.alloc(5_000_000))
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  const get = (target: string) => `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`
  let answers = ''
  socket.on('data', (chunk) => {
    answers += chunk.toString('latin1')
  })
  for (let i = 1; i <= 3; i++) {
    socket.write(get(path) + get('/livez'))
    await until(() => answers.split('{"status":"ok"}').length === i + 1)
  }
})

t.test('while a request takes its time, no more are read than had arrived with it', async (t) => {
  const app = build(t)
  const gate = Promise.withResolvers<string>()
  app.get('/slow', () => gate.promise)
  let read = 0
  app.server.on('request', () => {
    read++
  })
  const socket = connect(await listen(app), '127.0.0.1')
  let answers = 0
  socket.on('data', (chunk) => {
    answers += chunk.toString().split('done').length - 1
  })
  const sent = 20_000
  socket.write('GET /slow HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(sent))
  await once(socket, 'drain')
  await sleep(100)
  t.ok(read > 0 && read < 5000, `${read} of ${sent} requests read`)
  gate.resolve('done')
  await until(() => answers > 0.99 * sent)
  socket.destroy()
})

t.test(
  'a client that closes after its request still gets the answer to an upload that is refused',
  async (t) => {
    const port = await listen(build(t, { MAX_OBJECT_BYTES: '10' }))
    const head =
      'PUT /api/buckets/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5000000\r\n\r\n'
    t.match(await exchange(port, head, Buffer.alloc(5_000_000)), /^HTTP\/1.1 413 .*object too large/s)
  },
)

t.test('a refused client that never stops sending is cut off', async (t) => {
  const port = await listen(build(t, { MAX_OBJECT_BYTES: '10' }))
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }).on('error', () => {})
  socket.resume()
  socket.write(
    'PUT /api/buckets/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 999999999999\r\n\r\n',
  )
  const sending = setInterval(() => socket.write('x'), 10)
  await new Promise((resolve) => socket.once('close', resolve))
  clearInterval(sending)
  t.pass()
})

t.test('on a connection that has gone or is going nothing is acted on', async (t) => {
  const app = build(t)
  await app.ready()
  app.connections.leave(new Socket())
  t.strictSame(app.connections.replies(), [])

  const closing = new Socket()
  app.connections.enter(closing, reply, () => {})
  closing.destroySoon()
  app.connections.leave(closing)
  app.connections.whenIdle(closing, () => t.fail('acted on'))

  const between = new Socket()
  app.connections.enter(between, reply, () => {})
  app.connections.enter(between, reply, () => t.fail('acted on'))
  app.connections.leave(between)
  await once(between.destroy(), 'close')
  await setImmediate()
})

t.test('what arrives between two requests that were pipelined waits for the second', async (t) => {
  const app = build(t)
  await app.ready()
  const socket = new Socket()
  const order: string[] = []
  app.sockets.accept(socket)
  for (const name of ['first', 'second']) app.connections.enter(socket, reply, () => order.push(name))
  t.strictSame(app.connections.replies(), [reply])
  app.connections.leave(socket)
  t.strictSame(app.connections.replies(), [], 'no request is under way')
  app.sockets.destroyIdle()
  t.notOk(socket.destroyed, 'the second one is to come')
  app.connections.enter(socket, reply, () => order.push('third'))
  t.strictSame(order, ['first'])
  await setImmediate()
  t.strictSame(order, ['first', 'second'])
  app.connections.leave(socket)
  await setImmediate()
  t.strictSame(order, ['first', 'second', 'third'])
})

/** A connection, and what it has received. */
function client(t: Test, port: number) {
  const socket = connect(port, '127.0.0.1').on('error', () => {})
  t.after(() => socket.destroy())
  const received = { socket, text: '', isClosed: false }
  socket.on('data', (chunk) => {
    received.text += chunk
  })
  socket.once('close', () => {
    received.isClosed = true
  })
  return received
}

const GET = 'GET /livez HTTP/1.1\r\nHost: a\r\n\r\n'
const closed = (reason: string) => `http_connections_closed_total{reason="${reason}"}`

t.test('a new client is answered before the requests that earlier clients pipelined are done', async (t) => {
  const app = build(t)
  let begun = 0
  app.get('/counted', () => `${++begun}`)
  const port = await listen(app)
  const earlier = Array.from({ length: 50 }, () => client(t, port))
  for (const { socket } of earlier) socket.write('GET /counted HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(50))
  const newcomer = client(t, port)
  newcomer.socket.write(GET)
  await once(newcomer.socket, 'data')
  // A turn accepts one connection, and begins its first request and one that waits.
  t.ok(begun < 200, `${begun} of 2500 requests began before`)
})

t.test(
  'at the limit the connection that has gone longest without a request under way is closed for a new one',
  async (t) => {
    const lines: Record<string, unknown>[] = []
    const app = build(t, { MAX_CONNECTIONS: '4', LOG_LEVEL: 'warn' }, lines)
    const gate = Promise.withResolvers<string>()
    app.get('/slow', () => gate.promise)
    const port = await listen(app)
    const accepted = async (n: number) => until(() => app.sockets.count === n)

    const slow = client(t, port)
    slow.socket.write('GET /slow HTTP/1.1\r\nHost: a\r\n\r\n')
    await until(() => app.connections.replies().length === 1)
    const used = client(t, port)
    await accepted(2)
    const unused = client(t, port)
    await accepted(3)
    const unfinished = client(t, port)
    unfinished.socket.write('GET /livez HTTP/1.1\r\nX: ')
    await accepted(4)
    used.socket.write(GET)
    await until(() => used.text.endsWith('"ok"}'))
    t.match(await scrape(app), { http_connections: 4, [closed('limit')]: 0 })

    for (const longest of [unused, unfinished, used]) {
      const next = client(t, port)
      next.socket.write(GET)
      await until(() => next.text.endsWith('"ok"}'))
      await until(() => longest.isClosed)
    }
    t.match(await scrape(app), { http_connections: 4, [closed('limit')]: 3 })
    gate.resolve('done')
    await until(() => slow.text.endsWith('done'))
    t.match(lines, [{ reason: 'limit', count: 1, address: '127.0.0.1', maxConnections: 4 }])
  },
)

t.test('where a request is under way on every connection, a new one is closed', async (t) => {
  const app = build(t, { MAX_CONNECTIONS: '2' })
  const gate = Promise.withResolvers<string>()
  app.get('/slow', () => gate.promise)
  const port = await listen(app)
  const slow = [client(t, port), client(t, port)]
  for (const { socket } of slow) socket.write('GET /slow HTTP/1.1\r\nHost: a\r\n\r\n')
  await until(() => app.connections.replies().length === 2)
  t.equal(await exchange(port), '')
  t.match(await scrape(app), { http_connections: 2, [closed('limit')]: 1 })
  gate.resolve('done')
  for (const one of slow) await until(() => one.text.endsWith('done'))
})

t.test('a connection that is idle for too long is closed, and counted as idle', async (t) => {
  const app = build(t)
  Object.assign(app.server, { keepAliveTimeout: 20, keepAliveTimeoutBuffer: 0 })
  await exchange(await listen(app), GET)
  t.match(await scrape(app), { http_connections: 0, [closed('idle')]: 1, [closed('timeout')]: 0 })
})

t.test('a connection on which a request stalls is closed, and counted as timed out', async (t) => {
  for (const place of ['first', 'second']) {
    const app = build(t, { STALL_TIMEOUT_SECONDS: '1' })
    const one = client(t, await listen(app))
    if (place === 'second') {
      one.socket.write(GET)
      await until(() => one.text.endsWith('"ok"}'))
    }
    one.socket.write('PUT /api/buckets/a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf')
    await until(() => one.isClosed)
    const series = { http_connections: 0, [closed('idle')]: 0, [closed('timeout')]: 1 }
    t.match(await scrape(app), series, `the ${place} request of the connection`)
  }
})

t.test('after a request that has taken long its connection is kept as any other', async (t) => {
  const app = build(t, { STALL_TIMEOUT_SECONDS: '60', KEEP_ALIVE_SECONDS: '7' })
  const gate = Promise.withResolvers<string>()
  app.get('/slow', () => gate.promise)
  const port = await listen(app)
  const accepted = once(app.server, 'connection')
  const slow = client(t, port)
  slow.socket.write('GET /slow HTTP/1.1\r\nHost: a\r\n\r\n')
  const [socket] = (await accepted) as [Socket]
  await until(() => socket.timeout === 60_000)
  gate.resolve('done')
  await until(() => slow.text.endsWith('done'))
  t.equal(socket.timeout, 7000 + app.server.keepAliveTimeoutBuffer)
})

t.test(
  'requests that wait are bounded over all connections: one more, and its connection is closed',
  async (t) => {
    const app = build(t)
    const gate = Promise.withResolvers<string>()
    app.get('/slow', () => gate.promise)
    const port = await listen(app)
    const accepted: Socket[] = []
    app.server.on('connection', (socket: Socket) => accepted.push(socket))
    const flood = 'GET /slow HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(2000)
    const sockets = Array.from({ length: 10 }, () => connect(port, '127.0.0.1').on('error', () => {}))
    for (const socket of sockets) socket.resume().write(flood)
    await Promise.race(sockets.map((socket) => once(socket, 'close')))
    const cut = accepted.filter((socket) => socket.destroyed)
    t.equal(app.sockets.closed.limit, cut.length, 'each connection is counted once')
    t.equal((await send({ port, path: '/livez' })).statusCode, 200)
    for (const socket of sockets) socket.destroy()
    await until(() => app.connections.replies().length === 0)
    gate.resolve('done')
    t.match(await exchange(port, 'GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'), /done/)
  },
)

t.test('after an answer that closes its connection nothing more is acted on', async (t) => {
  const app = build(t)
  const port = await listen(app)
  const put = (id: string, headers = '') =>
    `PUT /api/buckets/${id} HTTP/1.1\r\nHost: a\r\n${headers}Content-Length: 1\r\n\r\nx`
  for (const headers of ['Connection: close\r\n', 'Connection: Upgrade\r\nUpgrade: h2c\r\n']) {
    const answers = await exchange(port, put('first', headers) + put('second'))
    t.match(answers, /^HTTP\/1.1 20[14] /)
    t.equal(answers.split('HTTP/1.1').length, 2)
  }
  app.lifecycle.drain()
  const answers = await exchange(port, put('first') + put('second'))
  t.equal(answers.split('HTTP/1.1').length, 2)
  t.equal((await send({ port, path: '/api/buckets/second' })).statusCode, 404)
})

t.test('CONNECT behind other requests is refused after their answers', async (t) => {
  const port = await listen(build(t))
  const requests = 'GET /livez HTTP/1.1\r\nHost: a\r\n\r\nCONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n'
  t.match(await exchange(port, requests), /^HTTP\/1.1 200 .*HTTP\/1.1 501 /s)
})

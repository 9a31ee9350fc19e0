import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import t from 'tap'
import { type App, build, exchange, listen, requestCount, scrape, send, until } from '../helper.ts'

interface Listed {
  id: string
  size: number
  etag: string
  modified: number
  expires?: number
}

/** All pages of a listing; `between` runs after each but the last. */
async function list(app: App, query: Record<string, string | number> = {}, between = async () => {}) {
  const pages: Listed[][] = []
  let cursor = ''
  for (;;) {
    const { buckets, next } = (
      await app.inject({ url: '/api/buckets', query: { ...query, cursor } as never })
    ).json()
    pages.push(buckets)
    if (next === null) return pages
    cursor = next
    await between()
  }
}

t.test('every byte value survives PUT and GET', async (t) => {
  const port = await listen(build(t))
  const path = '/api/buckets/bytes'
  const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
  t.equal((await send({ port, path, method: 'PUT' }, everyByte)).statusCode, 201)
  const { statusCode, body } = await send({ port, path })
  t.equal(statusCode, 200)
  t.strictSame(body, everyByte)
})

t.test('PUT answers 201 for a new object and 204 for a replaced one, without a body', async (t) => {
  const app = build(t)
  for (const expected of [201, 204, 204]) {
    const { statusCode, body } = await app.inject({ method: 'PUT', url: '/api/buckets/a', payload: 'x' })
    t.equal(statusCode, expected)
    t.equal(body, '')
  }
})

t.test('GET answers bytes that no browser runs, sniffs or caches unasked', async (t) => {
  const app = build(t)
  await app.inject({ method: 'PUT', url: '/api/buckets/a', payload: '<script>' })
  const { statusCode, headers, payload } = await app.inject('/api/buckets/a')
  t.equal(statusCode, 200)
  t.equal(payload, '<script>')
  t.match(headers, {
    'content-type': 'application/octet-stream',
    'content-length': '8',
    'cache-control': 'no-cache',
    'x-content-type-options': 'nosniff',
    'content-security-policy': "default-src 'none'; sandbox",
  })
})

t.test("HEAD answers GET's headers without a body, 404 where there is nothing", async (t) => {
  const port = await listen(build(t))
  const path = '/api/buckets/a'
  t.equal((await send({ port, path, method: 'HEAD' })).statusCode, 404)
  await send({ port, path, method: 'PUT' }, Buffer.from('hello'))
  const got = await send({ port, path })
  const head = await send({ port, path, method: 'HEAD' })
  t.equal(head.statusCode, 200)
  t.equal(head.body.length, 0)
  const { date: _, 'x-request-id': __, ...expected } = got.headers
  t.match(head.headers, expected)
})

t.test('DELETE answers 204, and 404 where there is nothing', async (t) => {
  const app = build(t)
  await app.inject({ method: 'PUT', url: '/api/buckets/a', payload: 'x' })
  const statuses = []
  for (let i = 0; i < 2; i++) {
    statuses.push((await app.inject({ method: 'DELETE', url: '/api/buckets/a' })).statusCode)
  }
  t.strictSame(statuses, [204, 404])
  t.strictSame((await app.inject('/api/buckets/a')).json(), { error: 'not found' })
})

t.test('an empty object is an object, with a Content-Length, a chunked body or no body at all', async (t) => {
  const port = await listen(build(t))
  for (const framing of [
    'Content-Length: 0\r\n\r\n',
    'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    '\r\n',
  ]) {
    const answer = await exchange(
      port,
      `PUT /api/buckets/empty HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nConnection: close\r\n${framing}`,
    )
    t.match(answer, /^HTTP\/1.1 20[14]/)
  }
  const { statusCode, headers, body } = await send({ port, path: '/api/buckets/empty' })
  t.match(
    { statusCode, headers, length: body.length },
    { statusCode: 200, headers: { 'content-length': '0' }, length: 0 },
  )
})

t.test('PUT takes any Content-Type, none and a malformed one', async (t) => {
  const app = build(t)
  const types = [
    'application/x-www-form-urlencoded',
    'application/json',
    'multipart/form-data; boundary=x',
    'no/such-type',
    'foo',
    ';;;',
    'a/b/c',
    '',
  ]
  for (const type of types) {
    const headers = { 'content-type': type }
    const { statusCode } = await app.inject({ method: 'PUT', url: '/api/buckets/a', headers, payload: '{"' })
    t.ok([201, 204].includes(statusCode), `content type "${type}"`)
  }
  const port = await listen(app)
  t.equal((await send({ port, path: '/api/buckets/a', method: 'PUT' }, Buffer.from('{"'))).statusCode, 204)
  t.equal((await app.inject('/api/buckets/a')).payload, '{"')
})

t.test('DELETE and GET ignore a body, of whatever type', async (t) => {
  const app = build(t)
  await app.inject({ method: 'PUT', url: '/api/buckets/a', payload: 'kept' })
  for (const method of ['GET', 'DELETE'] as const) {
    const headers = { 'content-type': ';;;' }
    const { statusCode } = await app.inject({ method, url: '/api/buckets/a', headers, payload: 'ignored' })
    t.equal(statusCode, method === 'GET' ? 200 : 204)
  }
})

t.test('an id is any text of 1 to 512 bytes, decoded exactly once', async (t) => {
  const port = await listen(build(t))
  const paths = [
    'plain',
    'a%2Fb',
    'a%252Fb',
    '%25',
    '%2525',
    '%E6%BC%A2%E5%AD%97',
    '%F0%9F%98%80',
    'e%CC%81',
    '__proto__',
    'constructor',
    'hasOwnProperty',
    '...',
    '%20',
    'a%3Fb%23c',
    "!$&'()*+,;=:@-._~",
    'x'.repeat(512),
    '%C3%A9'.repeat(256),
  ]
  for (const id of paths) {
    const path = `/api/buckets/${id}`
    t.equal((await send({ port, path, method: 'PUT' }, Buffer.from(id))).statusCode, 201, id.slice(0, 40))
  }
  for (const id of paths) {
    t.equal((await send({ port, path: `/api/buckets/${id}` })).body.toString(), id)
  }
  t.equal(
    (await send({ port, path: '/api/buckets/%61%2f%62' })).body.toString(),
    'a%2Fb',
    'escapes are equal to what they stand for',
  )
  t.equal((await send({ port, path: '/api/buckets/plain?query=ignored' })).body.toString(), 'plain')
})

t.test('what is not an id is 400, or 414 if it is too long, and says what is allowed', async (t) => {
  const app = build(t)
  const port = await listen(app)
  const invalid = 'id must be percent-encoded utf-8 without control characters, and not empty, . or ..'
  const cases: [string, number, string][] = [
    ['', 400, invalid],
    ['.', 400, invalid],
    ['..', 400, invalid],
    ['%2e%2e', 400, invalid],
    ['%00', 400, invalid],
    ['a%0Ab', 400, invalid],
    ['%7F', 400, invalid],
    ['%C2%85', 400, invalid],
    ['a#b', 400, invalid],
    ['%zz', 400, 'path must be percent-encoded utf-8'],
    ['%', 400, 'path must be percent-encoded utf-8'],
    ['%ff', 400, 'path must be percent-encoded utf-8'],
    ['%ED%A0%80', 400, 'path must be percent-encoded utf-8'],
    ['x'.repeat(513), 414, 'id too long: at most 512 bytes'],
    ['%C3%A9'.repeat(257), 414, 'id too long: at most 512 bytes'],
    ['x'.repeat(15_000), 414, 'id too long: at most 512 bytes'],
  ]
  for (const [id, statusCode, error] of cases) {
    for (const method of ['PUT', 'GET', 'HEAD', 'DELETE']) {
      const answer = await send({ port, path: `/api/buckets/${id}`, method })
      t.equal(answer.statusCode, statusCode, `${method} ${id.slice(0, 40)}`)
      if (method !== 'HEAD') t.strictSame(JSON.parse(answer.body.toString()), { error })
    }
  }
  t.equal((await app.store.stats()).objects, 0)
})

t.test('bytes beyond ASCII in a URL are malformed', async (t) => {
  const port = await listen(build(t))
  t.match(
    await exchange(port, Buffer.from('GET /api/buckets/é HTTP/1.1\r\nHost: a\r\n\r\n')),
    /^HTTP\/1.1 400 .*malformed/s,
  )
})

t.test('PUT of a part or of an encoding is refused, for it would be stored as the whole', async (t) => {
  const app = build(t)
  const put = (headers: Record<string, string>) =>
    app.inject({ method: 'PUT', url: '/api/buckets/a', headers, payload: 'x' })
  const part = await put({ 'content-range': 'bytes 0-0/2' })
  t.equal(part.statusCode, 400)
  t.strictSame(part.json(), { error: 'content-range is not supported: put the whole object' })
  const encoded = await put({ 'content-encoding': 'gzip' })
  t.equal(encoded.statusCode, 415)
  t.strictSame(encoded.json(), { error: 'content-encoding must be identity or absent' })
  t.equal((await put({ 'content-encoding': 'Identity' })).statusCode, 201)
})

t.test(
  'an object over MAX_OBJECT_BYTES is 413 by its length, before its body, and the connection goes on',
  async (t) => {
    const port = await listen(build(t, { MAX_OBJECT_BYTES: '4' }))
    const socket = connect(port, '127.0.0.1')
    t.after(() => socket.destroy())
    let answers = ''
    socket.on('data', (chunk) => {
      answers += chunk
    })
    socket.write('PUT /api/buckets/a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n')
    await until(() => answers.endsWith('{"error":"object too large: at most 4 bytes"}'))
    t.match(answers, /^HTTP\/1.1 413 /)
    answers = ''
    socket.write('12345PUT /api/buckets/a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n1234')
    await until(() => answers.includes('\r\n\r\n'))
    t.match(answers, /^HTTP\/1.1 201 /)
  },
)

t.test(
  'an object over MAX_OBJECT_BYTES is 413 in mid-stream, and the client still reads the answer',
  async (t) => {
    const app = build(t, { MAX_OBJECT_BYTES: '100000' })
    const port = await listen(app)
    const headers = { 'transfer-encoding': 'chunked' }
    const put = (bytes: number) =>
      send({ port, path: '/api/buckets/a', method: 'PUT', headers }, Buffer.alloc(bytes))
    for (const bytes of [100_001, 20_000_000]) {
      const { statusCode, body } = await put(bytes)
      t.equal(statusCode, 413)
      t.strictSame(JSON.parse(body.toString()), { error: 'object too large: at most 100000 bytes' })
    }
    t.equal((await app.store.stats()).bytes, 0, 'nothing stays reserved')
    t.equal((await put(100_000)).statusCode, 201)
  },
)

t.test('a client that goes away while the engine is asked leaves nothing behind', async (t) => {
  const app = build(t)
  const socket = connect(await listen(app), '127.0.0.1')
  const answer = Promise.withResolvers<boolean>()
  t.intercept(app.store, 'check', { value: () => answer.promise })
  socket.write('PUT /api/buckets/a HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\nContent-Length: 5\r\n\r\nhel')
  await until(async () => (await scrape(app)).storage_bytes === 5)
  socket.destroy()
  await until(async () => (await scrape(app)).http_requests_in_flight === 0)
  answer.resolve(true)
  await until(async () => (await scrape(app)).storage_bytes === 0)
  t.equal((await scrape(app))[requestCount('PUT', '/api/buckets/:id', 499)], 1)
})

t.test('a body without a length is stored whole, in whatever pieces it comes', async (t) => {
  const app = build(t)
  const port = await listen(app)
  const bytes = randomBytes(300_000)
  const headers = { 'transfer-encoding': 'chunked' }
  await send({ port, path: '/api/buckets/large', method: 'PUT', headers }, bytes)
  t.strictSame((await send({ port, path: '/api/buckets/large' })).body, bytes)

  const pieces = Array.from('piecemeal', (letter) => `1\r\n${letter}\r\n`).join('')
  await exchange(
    port,
    `PUT /api/buckets/small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n${pieces}0\r\n\r\n`,
  )
  t.equal((await send({ port, path: '/api/buckets/small' })).body.toString(), 'piecemeal')
})

t.test('a full store answers 507, stays readable, and takes objects again after a DELETE', async (t) => {
  const app = build(t, { MAX_STORE_BYTES: '100000' })
  const port = await listen(app)
  const put = (id: string, headers = {}) =>
    send({ port, path: `/api/buckets/${id}`, method: 'PUT', headers }, Buffer.alloc(40_000, id))
  t.equal((await put('a')).statusCode, 201)
  t.equal((await put('b')).statusCode, 201)
  for (const headers of [{}, { 'transfer-encoding': 'chunked' }]) {
    const { statusCode, body } = await put('c', headers)
    t.equal(statusCode, 507)
    t.strictSame(JSON.parse(body.toString()), { error: 'store full: delete objects or store smaller ones' })
  }
  t.strictSame((await send({ port, path: '/api/buckets/a' })).body, Buffer.alloc(40_000, 'a'))
  t.equal((await send({ port, path: '/api/buckets/b', method: 'DELETE' })).statusCode, 204)
  t.equal((await put('c')).statusCode, 201)
  const { storage_bytes, storage_bytes_limit } = await scrape(app)
  t.ok((storage_bytes as number) <= (storage_bytes_limit as number))
})

t.test('ids and bookkeeping count: empty objects fill a store too', async (t) => {
  const app = build(t, { MAX_STORE_BYTES: '10000' })
  const statuses = []
  for (let i = 0; i < 20; i++) {
    statuses.push((await app.inject({ method: 'PUT', url: `/api/buckets/${i}`.padEnd(300, 'x') })).statusCode)
  }
  t.strictSame(new Set(statuses), new Set([201, 507]))
  t.equal((await app.inject({ method: 'PUT', url: `/api/buckets/${0}`.padEnd(300, 'x') })).statusCode, 204)
})

t.test(
  'uploads under way count: slow ones cannot exceed the limit, and give back what they held',
  async (t) => {
    const app = build(t, { MAX_STORE_BYTES: '1000000' })
    const port = await listen(app)
    const sockets = Array.from({ length: 100 }, (_, i) => {
      const socket = connect(port, '127.0.0.1').on('error', () => {})
      socket.write(`PUT /api/buckets/${i} HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\nx`)
      return socket
    })
    let refused = 0
    for (const socket of sockets) {
      socket.on('data', (chunk) => {
        if (`${chunk}`.startsWith('HTTP/1.1 507')) refused++
      })
    }
    await until(() => refused === 80)
    t.equal((await app.store.stats()).bytes, 1_000_000)
    for (const socket of sockets) socket.destroy()
    await until(async () => (await app.store.stats()).bytes === 0)
    t.equal((await app.store.stats()).objects, 0)
  },
)

t.test('an upload for which the machine has no memory is 507, and nothing stays reserved', async (t) => {
  const app = build(t)
  const port = await listen(app)
  const chunked = { 'transfer-encoding': 'chunked' }
  // The declared length, the second step of a growing buffer, the exact length of a grown one.
  const cases = [
    [{}, 70_000, 70_000],
    [chunked, 70_000, 131_072],
    [chunked, 100, 100],
  ] as const
  for (const [headers, bytes, refused] of cases) {
    const { allocUnsafeSlow } = Buffer
    const restore = t.intercept(Buffer, 'allocUnsafeSlow', {
      value: (size: number) => {
        if (size === refused) throw new RangeError('Array buffer allocation failed')
        return allocUnsafeSlow(size)
      },
    })
    const { statusCode } = await send(
      { port, path: '/api/buckets/a', method: 'PUT', headers },
      Buffer.alloc(bytes),
    )
    t.equal(statusCode, 507)
    restore.restore()
  }
  t.equal((await app.store.stats()).bytes, 0)
})

t.test('a client that does not read an object is cut', async (t) => {
  const app = build(t, { MAX_OBJECT_BYTES: '100000000', STALL_TIMEOUT_SECONDS: '1' })
  const port = await listen(app)
  await send({ port, path: '/api/buckets/large', method: 'PUT' }, Buffer.alloc(50_000_000))
  const socket = connect(port, '127.0.0.1').pause()
  socket.write('GET /api/buckets/large HTTP/1.1\r\nHost: a\r\n\r\n')
  await until(() => app.connections.replies().length === 1)
  await until(() => app.connections.replies().length === 0)
  socket.destroy()
})

t.test('an object that is deleted or replaced counts until the last client has read it', async (t) => {
  const app = build(t, { MAX_OBJECT_BYTES: '100000000', MAX_STORE_BYTES: '160000000' })
  const port = await listen(app)
  const put = () => send({ port, path: '/api/buckets/a', method: 'PUT' }, Buffer.alloc(50_000_000))
  const bytes = async () => (await app.store.stats()).bytes
  await put()
  const whole = await bytes()
  const readers = [1, 2].map(() => connect(port, '127.0.0.1').pause())
  for (const reader of readers) reader.write('GET /api/buckets/a HTTP/1.1\r\nHost: a\r\n\r\n')
  await until(() => app.connections.replies().length === 2)
  t.equal((await put()).statusCode, 204)
  t.equal(await bytes(), whole + 50_000_000)
  t.equal((await put()).statusCode, 204, 'nobody reads the second one')
  t.equal(await bytes(), whole + 50_000_000)
  await send({ port, path: '/api/buckets/a', method: 'DELETE' })
  t.equal(await bytes(), 50_000_000)
  readers[0]?.destroy()
  await until(() => app.connections.replies().length === 1)
  t.equal(await bytes(), 50_000_000)
  readers[1]?.destroy()
  await until(async () => (await bytes()) === 0)
})

t.test('the listing names what is stored, page by page', async (t) => {
  const app = build(t)
  const seconds = () => Math.floor(Date.now() / 1000)
  const before = seconds()
  const ids = ['a', 'a/b', 'a b', 'b', '漢字', '😀', '"\\', '__proto__']
  for (const id of ids) {
    const url = `/api/buckets/${encodeURIComponent(id)}`
    await app.inject({ method: 'PUT', url: id === 'b' ? `${url}?ttl=60` : url, payload: id })
  }
  for (const limit of [1, 3, ids.length, 1000]) {
    const pages = await list(app, { limit })
    t.equal(pages.length, Math.ceil(ids.length / limit), `pages of ${limit}`)
    t.strictSame(new Set(pages.flat().map(({ id }) => id)), new Set(ids))
    t.equal(pages.flat().length, ids.length, 'each of them once')
  }
  for (const { id, size, etag, modified, expires, ...rest } of (await list(app)).flat()) {
    t.equal(size, Buffer.byteLength(id))
    t.equal(etag, (await app.inject(`/api/buckets/${encodeURIComponent(id)}`)).headers.etag)
    t.ok(modified >= before && modified <= seconds())
    if (id === 'b') t.ok((expires as number) >= before + 60 && (expires as number) <= seconds() + 61)
    else t.equal(expires, undefined)
    t.strictSame(rest, {})
  }
  const prefixes: [string, string[]][] = [
    ['a', ['a', 'a/b', 'a b']],
    ['a/', ['a/b']],
    ['漢', ['漢字']],
    ['c', []],
    ['\u{10ffff}', []],
  ]
  for (const [prefix, expected] of prefixes) {
    const listed = (await list(app, { prefix, limit: 1 })).flat().map(({ id }) => id)
    t.strictSame(new Set(listed), new Set(expected), prefix)
  }
})

t.test('a listing that things are put into and deleted from shows all that stays', async (t) => {
  const app = build(t)
  const put = (id: string) => app.inject({ method: 'PUT', url: `/api/buckets/${id}` })
  const staying = Array.from({ length: 50 }, (_, i) => `${(i * 7) % 50}-stays`)
  for (const id of staying) {
    await put(id)
    await put(`${id}-goes`)
  }
  let changes = 0
  const pages = await list(app, { limit: 7 }, async () => {
    await put(`${changes++}-new`)
    for (const id of staying.slice(0, changes * 5)) {
      await app.inject({ method: 'DELETE', url: `/api/buckets/${id}-goes` })
    }
  })
  const listed = pages.flat().map(({ id }) => id)
  t.strictSame(
    staying.filter((id) => !listed.includes(id)),
    [],
  )
  t.equal(new Set(listed).size, listed.length)
})

t.test('what is no parameter of a listing is 400, and says what is allowed', async (t) => {
  const app = build(t)
  const limit = 'limit must be an integer from 1 to 1000'
  const cursor = 'cursor must be the next of an earlier page'
  const query = 'query must be percent-encoded utf-8'
  const cases: [string, string][] = [
    ['limit=0', limit],
    ['limit=1001', limit],
    ['limit=', limit],
    ['limit=ten', limit],
    ['limit=1e2', limit],
    ['limit=1.5', limit],
    ['limit=1&limit=1', limit],
    ['cursor=YQ=', cursor],
    ['cursor=%20', cursor],
    ['cursor=_w', cursor],
    ['cursor=a&cursor=b', 'cursor must be given once'],
    ['prefix=a&prefix=b', 'prefix must be given once'],
    ['limit=0&prefix=a&prefix=b', `${'prefix must be given once'}; ${limit}`],
    ['prefix=%ff', query],
    ['prefix=%', query],
  ]
  for (const [parameters, error] of cases) {
    const { statusCode, payload } = await app.inject(`/api/buckets?${parameters}`)
    t.equal(statusCode, 400, parameters)
    t.strictSame(JSON.parse(payload), { error })
  }
  for (const parameters of [
    '',
    'cursor=',
    'limit=1000',
    'unknown=1&unknown=2',
    'prefix=a+b%20c',
    'limit=0001',
  ]) {
    t.equal((await app.inject(`/api/buckets?${parameters}`)).statusCode, 200, parameters)
  }
})

t.test('a client that takes too long to read is cut, and then nothing waits for it', async (t) => {
  const app = build(t, { MAX_OBJECT_BYTES: '100000000', RESPONSE_TIMEOUT_SECONDS: '1' })
  const port = await listen(app)
  await send({ port, path: '/api/buckets/large', method: 'PUT' }, Buffer.alloc(50_000_000))
  const socket = connect(port, '127.0.0.1').on('error', () => {})
  // It does make progress, but slowly.
  const reading = setInterval(() => socket.read(1), 10)
  t.after(() => {
    clearInterval(reading)
    socket.destroy()
  })
  socket.on('readable', () => {}).write('GET /api/buckets/large HTTP/1.1\r\nHost: a\r\n\r\n')
  await until(() => app.connections.replies().length === 1)
  await until(async () => (await scrape(app))[requestCount('GET', '/api/buckets/:id', 499)] === 1)
  t.strictSame(app.connections.replies(), [])
})

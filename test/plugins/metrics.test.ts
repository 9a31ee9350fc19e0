import { once } from 'node:events'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import t from 'tap'
import { writePage } from '../../src/metrics/exposition.ts'
import { OPENMETRICS, TEXT } from '../../src/metrics/format.ts'
import {
  type App,
  build,
  listen,
  parsePage,
  REASONS,
  rejectionCount,
  requestCount,
  scrape,
  send,
  until,
} from '../helper.ts'

const BUCKET = '/api/buckets/:id'

/** The histogram's lines on the page for one set of labels. */
async function exposition(app: App, labels: string): Promise<string[]> {
  const page = (await app.inject('/metrics')).payload
  return page
    .split('\n')
    .filter((line) => line.startsWith('http_request_duration_seconds') && line.includes(labels))
}

t.test('a request is one observation by method, route template and status code', async (t) => {
  const app = build(t)
  await app.inject({ method: 'PUT', url: '/api/buckets/some-id?q=1', payload: 'x' })
  const lines = await exposition(app, 'method="PUT",path="/api/buckets/:id",status_code="201"')
  const labels = 'method="PUT",path="/api/buckets/:id",status_code="201"'
  const bounds = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 2.5, '+Inf']
  t.strictSame(
    lines.map((line) => line.slice(0, line.lastIndexOf(' '))),
    [
      ...bounds.map((le) => `http_request_duration_seconds_bucket{le="${le}",${labels}}`),
      `http_request_duration_seconds_sum{${labels}}`,
      `http_request_duration_seconds_count{${labels}}`,
    ],
  )
  const values = lines.map((line) => Number(line.slice(line.lastIndexOf(' '))))
  const [count, sum, infinity] = [values.pop(), values.pop() as number, values.at(-1)]
  t.equal(count, 1)
  t.equal(infinity, 1)
  t.strictSame(
    values,
    values.map((_, i) => (sum <= (bounds[i] as number) || i === 10 ? 1 : 0)),
    'cumulative',
  )
  t.ok(sum > 0 && sum < 2.5)
})

t.test('the page is in the text format, as HEAD and GET', async (t) => {
  const app = build(t)
  const { headers, payload } = await app.inject('/metrics')
  t.equal(headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8')
  t.match(
    payload,
    '# HELP http_request_duration_seconds HTTP request duration in seconds, by method, path and status code\n# TYPE http_request_duration_seconds histogram\n',
  )
  t.match(
    payload,
    '# HELP http_requests_in_flight HTTP requests that have begun and have no complete response yet\n# TYPE http_requests_in_flight gauge\nhttp_requests_in_flight 0\n',
  )
  t.match(payload, /^process_resident_memory_bytes \d+$/m)
  t.equal(headers.vary, 'Accept')
  t.match(await app.inject({ method: 'HEAD', url: '/metrics' }), {
    statusCode: 200,
    payload: '',
    headers: { 'content-type': headers['content-type'], vary: 'Accept' },
  })
})

t.test('the page is OpenMetrics for a client that prefers it, as HEAD and GET', async (t) => {
  const request = { url: '/metrics', headers: { accept: 'application/openmetrics-text' } }
  const app = build(t)
  const { headers, payload } = await app.inject(request)
  t.match(headers, {
    'content-type': 'application/openmetrics-text; version=1.0.0; charset=utf-8',
    vary: 'Accept',
  })
  t.match(payload, '\n# TYPE storage_operations counter\n')
  t.match(payload, /\n# EOF\n$/)
  t.match((await app.inject({ method: 'HEAD', ...request })).headers, {
    'content-type': headers['content-type'],
    vary: 'Accept',
  })
  t.match((await app.inject('/metrics')).payload, '\n# TYPE storage_operations_total counter\n', 'text again')
})

t.test('both formats have the same value of every series', async (t) => {
  const app = build(t)
  app.get('/failed', (_request, reply) => reply.code(500).send())
  const port = await listen(app)
  for (const method of ['PUT', 'GET', 'PROPFIND']) await send({ port, path: '/api/buckets/a', method })
  await send({ port, path: '/failed' })
  const families = await app.registry.getMetricsAsJSON()
  const [text, openMetrics] = [TEXT, OPENMETRICS].map((format) =>
    Object.entries(parsePage(writePage(families, format))).map(([series, value]) => [
      series.replace(/le="([\d.e+-]+)"/, (_, bound) => `le="${Number(bound)}"`),
      value,
    ]),
  )
  t.equal(text?.length, families.flatMap(({ values }) => values).length)
  t.strictSame(openMetrics, text)
})

t.test('a fresh process shows the known series at zero', async (t) => {
  const series = await scrape(build(t))
  const known: Record<string, number[]> = {
    PUT: [201, 204, 412, 413, 415, 507],
    GET: [200, 206, 304, 404, 412, 416],
    HEAD: [200, 304, 404, 412],
    DELETE: [204, 404, 412],
  }
  for (const [method, statuses] of Object.entries(known)) {
    for (const status of [...statuses, 400, 414, 500, 503])
      t.equal(series[requestCount(method, BUCKET, status)], 0)
  }
  for (const reason of REASONS) t.equal(series[rejectionCount(reason)], 0)
  const outcomes = {
    get: ['hit', 'miss', 'error'],
    put: ['created', 'replaced', 'precondition_failed', 'full', 'error'],
    delete: ['deleted', 'miss', 'precondition_failed', 'error'],
    list: ['hit', 'miss', 'error'],
  }
  for (const [operation, names] of Object.entries(outcomes)) {
    for (const outcome of names)
      t.equal(series[`storage_operations_total{operation="${operation}",outcome="${outcome}"}`], 0)
  }
  for (const reason of ['limit', 'idle', 'timeout'])
    t.equal(series[`http_connections_closed_total{reason="${reason}"}`], 0)
  t.match(series, { storage_objects: 0, storage_bytes: 0, http_requests_in_flight: 0, http_connections: 0 })
})

t.test('the build is told apart by version, revision, Node.js and engine', async (t) => {
  const app = build(t, { REVISION: '0a1b2c3' })
  await app.ready()
  const labels = `version="${app.config.VERSION}",revision="0a1b2c3",node_version="${process.version}",engine="memory"`
  t.equal((await scrape(app))[`storage_api_build_info{${labels}}`], 1)
})

t.test(
  'HEAD, 404, 405, 413 and 414 are counted, probes, scrapes and the documentation are not',
  async (t) => {
    const app = build(t, { MAX_OBJECT_BYTES: '1' })
    const requests: [string, string, number][] = [
      ['HEAD', '/api/buckets/a', 404],
      ['GET', '/api/buckets/a', 404],
      ['POST', '/api/buckets/a', 405],
      ['OPTIONS', '/api/buckets/a', 204],
      ['PUT', '/api/buckets/a', 413],
      ['GET', `/api/buckets/${'x'.repeat(513)}`, 414],
    ]
    for (const [method, url, statusCode] of requests) {
      t.equal((await app.inject({ method: method as 'GET', url, payload: 'xx' })).statusCode, statusCode)
      t.equal((await scrape(app))[requestCount(method, BUCKET, statusCode)], 1, `${method} ${statusCode}`)
    }
    for (const url of [
      '/livez',
      '/readyz',
      '/metrics',
      '/openapi.json',
      '/docs',
      '/docs/static/swagger-ui.css',
      '/',
      '/?q=1',
    ]) {
      for (const method of ['GET', 'HEAD', 'POST'] as const) await app.inject({ method, url })
    }
    const series = await scrape(app)
    t.equal(series.http_requests_in_flight, 0)
    const labels = Object.keys(series).map((name) => /path="([^"]*)"/.exec(name)?.[1])
    t.strictSame(new Set(labels), new Set([undefined, BUCKET, '/api/buckets']))
  },
)

t.test('1,000 paths of a scanner add one value of path', async (t) => {
  const app = build(t)
  const paths = async () =>
    new Set(Object.keys(await scrape(app)).map((name) => /path="([^"]*)"/.exec(name)?.[1]))
  const before = await paths()
  for (let i = 0; i < 1000; i++) await app.inject(`/wp-admin/${i}.php?x=${i}`)
  for (let i = 0; i < 100; i++) await app.inject(`/api/buckets/${i}`)
  t.strictSame(await paths(), before.add('unmatched'))
  t.equal((await scrape(app))[requestCount('GET', 'unmatched', 404)], 1000)
})

t.test("a method that is not one of HTTP's own is _OTHER", async (t) => {
  const app = build(t)
  const port = await listen(app)
  for (const method of ['PROPFIND', 'MKCOL', 'QUERY']) {
    t.equal((await send({ port, path: '/api/buckets/a', method })).statusCode, 405)
    t.equal((await send({ port, path: '/nowhere', method })).statusCode, 404)
  }
  const series = await scrape(app)
  t.equal(series[requestCount('_OTHER', BUCKET, 405)], 3)
  t.equal(series[requestCount('_OTHER', 'unmatched', 404)], 3)
  t.notOk(Object.keys(series).some((name) => name.includes('PROPFIND')))
})

t.test('an upload that its client aborts is one 499, and in flight no more', async (t) => {
  const app = build(t)
  const socket = connect(await listen(app), '127.0.0.1')
  socket.write('PUT /api/buckets/a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf')
  await until(async () => (await scrape(app)).http_requests_in_flight === 1)
  socket.destroy()
  await until(async () => (await scrape(app)).http_requests_in_flight === 0)
  const series = await scrape(app)
  t.equal(series[requestCount('PUT', BUCKET, 499)], 1)
  t.equal(series[requestCount('PUT', BUCKET, 201)], 0)
  t.match(series, { storage_objects: 0, storage_bytes: 0 })
})

t.test('a client that goes away before it has read its answer is one 499', async (t) => {
  const app = build(t, { MAX_OBJECT_BYTES: '100000000' })
  const port = await listen(app)
  await send({ port, path: '/api/buckets/large', method: 'PUT' }, Buffer.alloc(50_000_000))
  const socket = connect(port, '127.0.0.1').pause()
  socket.write(
    'GET /api/buckets/large HTTP/1.1\r\nHost: a\r\n\r\nGET /api/buckets/large HTTP/1.1\r\nHost: a\r\n\r\n',
  )
  await until(async () => (await scrape(app)).http_requests_in_flight === 1)
  socket.destroy()
  await until(async () => (await scrape(app)).http_requests_in_flight === 0)
  const series = await scrape(app)
  t.equal(series[requestCount('GET', BUCKET, 499)], 1, 'the pipelined request had not begun')
  t.equal(series[requestCount('GET', BUCKET, 200)], 0)
})

t.test('an answer that comes when its client has gone is one 499 all the same', async (t) => {
  const app = build(t)
  const gone = Promise.withResolvers<void>()
  const answered = Promise.withResolvers<void>()
  app.get('/slow', async (_request, reply) => {
    await gone.promise
    reply.raw.once('error', () => {}).once('close', answered.resolve)
    setImmediate(answered.resolve)
    return 'too late'
  })
  const socket = connect(await listen(app), '127.0.0.1')
  socket.write('GET /slow HTTP/1.1\r\nHost: a\r\n\r\n')
  await until(async () => (await scrape(app)).http_requests_in_flight === 1)
  socket.destroy()
  await until(async () => (await scrape(app)).http_requests_in_flight === 0)
  gone.resolve()
  await answered.promise
  const series = await scrape(app)
  t.equal(series[requestCount('GET', '/slow', 499)], 1)
  t.equal(series[requestCount('GET', '/slow', 200)], undefined)
  t.equal(series.http_requests_in_flight, 0)
})

t.test('an answer whose connection is cut before it is known to be sent is one 499', async (t) => {
  const app = build(t)
  app.get('/cut', async (request, reply) => {
    // Node.js emits this when the answer has been written.
    reply.raw.once('prefinish', () => request.raw.socket.destroy())
    return 'cut'
  })
  const socket = connect(await listen(app), '127.0.0.1')
  socket.write('GET /cut HTTP/1.1\r\nHost: a\r\n\r\n')
  await once(socket.resume(), 'close')
  await until(async () => (await scrape(app)).http_requests_in_flight === 0)
  const series = await scrape(app)
  t.equal(series[requestCount('GET', '/cut', 499)], 1)
  t.equal(series[requestCount('GET', '/cut', 200)], undefined)
})

t.test('a refusal is counted as one, though its client has not waited for the end of it', async (t) => {
  const app = build(t)
  app.get('/refused', (_request, reply) => {
    const endless = new Readable({ read: () => {} })
    endless.push('x')
    reply.code(404).send(endless)
  })
  const socket = connect(await listen(app), '127.0.0.1')
  socket.write('GET /refused HTTP/1.1\r\nHost: a\r\n\r\n')
  await once(socket, 'data')
  socket.destroy()
  await until(async () => (await scrape(app)).http_requests_in_flight === 0)
  const series = await scrape(app)
  t.equal(series[requestCount('GET', '/refused', 404)], 1)
  t.equal(series[requestCount('GET', '/refused', 499)], undefined)
})

t.test('outcomes of operations, objects and bytes are counted', async (t) => {
  const app = build(t, { MAX_STORE_BYTES: '600' })
  const run = (method: 'PUT' | 'GET' | 'HEAD' | 'DELETE', id: string, bytes = 0) =>
    app.inject({ method, url: `/api/buckets/${id}`, payload: Buffer.alloc(bytes) })
  await run('PUT', 'a', 100)
  await run('PUT', 'a', 50)
  await run('PUT', 'b', 1)
  await run('PUT', 'b', 1000)
  await run('GET', 'a')
  await run('HEAD', 'a')
  await run('GET', 'b')
  let series = await scrape(app)
  const outcome = (operation: string, name: string) =>
    series[`storage_operations_total{operation="${operation}",outcome="${name}"}`]
  t.match([outcome('put', 'created'), outcome('put', 'replaced'), outcome('put', 'full')], [1, 1, 2])
  t.match([outcome('get', 'hit'), outcome('get', 'miss')], [2, 1])
  t.match(series, { storage_objects: 1, storage_bytes_limit: 600 })
  t.ok((series.storage_bytes as number) > 50)
  await run('DELETE', 'a')
  await run('DELETE', 'a')
  series = await scrape(app)
  t.match([outcome('delete', 'deleted'), outcome('delete', 'miss')], [1, 1])
  t.match(series, { storage_objects: 0, storage_bytes: 0 })
})

t.test('two applications live in one process, each with its own metrics', async (t) => {
  const [one, other] = [build(t), build(t)]
  await one.inject('/api/buckets/a')
  t.equal((await scrape(one))[requestCount('GET', BUCKET, 404)], 1)
  t.equal((await scrape(other))[requestCount('GET', BUCKET, 404)], 0)
})

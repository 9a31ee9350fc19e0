import { createHash, randomBytes } from 'node:crypto'
import { METHODS } from 'node:http'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { parserMethods, rejectionCount } from '../helper.ts'
import {
  abort,
  idle,
  MANNERS,
  openMany,
  PHASE_NAMES,
  type SlowClient,
  slowBody,
  slowHeaders,
  slowReader,
  unfinishedHead,
} from './abuse.ts'
import { Client, get, put, type Target } from './clients.ts'
import { docker } from './docker.ts'
import { requireTool } from './require-tool.ts'
import { isAlive, peakMemory, quantile, type Service, scrape, start } from './service.ts'

requireTool('docker', 'compose', 'version')

const MIB = 2 ** 20

/** Asks until a response passes. Fails after this many seconds. */
async function eventually(seconds: number, isSo: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 1000 * seconds; !(await isSo()); await sleep(100)) {
    if (Date.now() > deadline) throw new Error(`not within ${seconds} seconds: ${isSo}`)
  }
}

/** Only the scrape is in progress, and no more files and connections are open than at the start. */
const isIdle = (service: Service, atStart: Record<string, number>) => async () => {
  const page = await scrape(service)
  return (
    page.http_requests_in_flight === 0 &&
    (page.process_open_fds as number) <= (atStart.process_open_fds as number) + 3
  )
}

/** The 5xx status codes that the service has counted, of all routes. */
function faults(page: Record<string, number>): string[] {
  return Object.entries(page)
    .filter(([series, count]) => /_count{.*status_code="5/.test(series) && count > 0)
    .map(([series, count]) => `${series} ${count}`)
}

t.test('a hundred uploads of 16 MiB at once and a store that fills up do not kill it', async (t) => {
  const UPLOADERS = 100
  const ROUNDS = 3
  const service = await start(t, {})
  const { target } = service
  const body = randomBytes(16 * MIB + 1)
  const etag = `"${createHash('sha256').update(body.subarray(1)).digest('base64url').slice(0, 22)}"`
  const before = await scrape(service)
  const statuses: Record<string, number> = {}
  const stored: string[] = []

  async function upload(path: string, ...request: (string | Buffer)[]): Promise<void> {
    const client = new Client(target)
    const { status, head } = await client.send(...request)
    client.socket.destroy()
    statuses[status] = (statuses[status] ?? 0) + 1
    if (status === 201) stored.push(path)
    if (status === 503 || status === 507) return
    t.match(head, status === 413 ? /^HTTP\/1.1 413/ : /^HTTP\/1.1 201/)
  }
  const head = (path: string, length: string) => `PUT ${path} HTTP/1.1\r\nHost: a\r\n${length}\r\n\r\n`
  const chunk = (bytes: Buffer) => [`${bytes.length.toString(16)}\r\n`, bytes, '\r\n0\r\n\r\n']
  await Promise.all(
    Array.from({ length: UPLOADERS }, async (_, uploader) => {
      for (let round = 0; round < ROUNDS; round++) {
        const path = `/api/buckets/${uploader}-${round}`
        // With Content-Length and without, both also one byte too large.
        const bytes = uploader % 10 < 8 ? body.subarray(1) : body
        if (uploader % 2 === 0) await upload(path, put(path, bytes.length), bytes)
        else await upload(path, head(path, 'Transfer-Encoding: chunked'), ...chunk(bytes))
      }
    }),
  )
  const peak = await peakMemory(service)
  t.comment(`${JSON.stringify(statuses)}, at most ${Math.round(peak / MIB)} MiB resident`)
  t.strictSame(
    Object.keys(statuses).filter((status) => !['201', '413', '503', '507'].includes(status)),
    [],
  )
  for (const status of ['201', '413', '507']) t.ok(statuses[status], status)

  const client = new Client(target)
  for (const path of stored) {
    const answer = await client.send(get(path))
    t.equal(answer.status, 200, path)
    t.ok(answer.body.equals(body.subarray(1)))
    t.match(answer.head, `etag: ${etag}`)
    t.equal((await client.send(`DELETE ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)).status, 204)
  }
  client.socket.destroy()
  const after = await scrape(service)
  t.equal(after.storage_bytes, before.storage_bytes, 'nothing stays reserved')
  await eventually(10, isIdle(service, before))
  await isAlive(t, service)
})

t.test('thousands of slow clients harm nobody else, and are not kept', async (t) => {
  const CLIENTS = 1000
  const service = await start(t, {
    HEADERS_TIMEOUT_SECONDS: '5',
    REQUEST_TIMEOUT_SECONDS: '6',
    RESPONSE_TIMEOUT_SECONDS: '5',
    STALL_TIMEOUT_SECONDS: '7',
  })
  const { target } = service
  const long = '/api/buckets/long'
  const client = new Client(target)
  const bytes = randomBytes(8 * MIB)
  t.equal((await client.send(put(long, bytes.length), bytes)).status, 201)
  const before = await scrape(service)

  const slow: SlowClient[] = [slowHeaders, slowBody, slowReader(long)]
  const sockets: Socket[] = []
  const times: number[] = []
  const body = randomBytes(1000)
  let most = 0
  let isOver = false
  const deadline = Date.now() + 30_000
  while (!isOver && Date.now() < deadline) {
    for (let i = 0; i < 100; i++) {
      const begun = performance.now()
      const path = `/api/buckets/${i}`
      const { status } = await client.send(put(path, body.length), body)
      const answer = await client.send(get(path))
      times.push(performance.now() - begun)
      if (status > 204 || !answer.body.equals(body)) t.fail(`${status} and ${answer.head}`)
      // One after another, because a thousand long responses at once would be an overload.
      if (sockets.length < slow.length * CLIENTS) sockets.push(...slow.map((open) => open(target)))
      await sleep(1)
    }
    most = Math.max(most, (await scrape(service)).http_requests_in_flight as number)
    isOver = most > CLIENTS && (await isIdle(service, before)())
  }
  const p99 = quantile(times, 0.99)
  const peak = await peakMemory(service)
  t.comment(
    `${times.length} pairs of PUT and GET, 99 % within ${p99.toFixed(1)} ms; ${most} slow requests under way; ` +
      `${Math.round(peak / MIB)} MiB resident`,
  )
  t.ok(most > CLIENTS, `${most} slow requests under way at once`)
  t.ok(isOver, 'the server has closed their connections')
  t.ok(p99 < 250, `99 % within ${p99} ms`)
  t.strictSame(faults(await scrape(service)), [])
  await isAlive(t, service)
  for (const socket of sockets) socket.destroy()
  client.socket.destroy()
})

t.test('clients that go away in any phase of a request leave nothing behind', async (t) => {
  const TIMES = 50
  const service = await start(t, {})
  const { target } = service
  const client = new Client(target)
  const bytes = randomBytes(8 * MIB)
  const long = '/api/buckets/long'
  t.equal((await client.send(put(long, bytes.length), bytes)).status, 201)
  const before = await scrape(service)
  for (let i = 0; i < TIMES; i++) {
    const leaving = PHASE_NAMES.flatMap((phase) =>
      MANNERS.map((manner) => abort(target, long, phase, manner)),
    )
    await Promise.all(leaving)
  }
  await eventually(10, isIdle(service, before))
  t.comment(`${TIMES * PHASE_NAMES.length * MANNERS.length} clients`)
  // It exists only if a client has sent the whole body.
  await client.send('DELETE /api/buckets/aborted HTTP/1.1\r\nHost: a\r\n\r\n')
  const after = await scrape(service)
  t.equal(after.storage_bytes, before.storage_bytes, 'nothing stays reserved')
  t.strictSame(faults(after), [])
  t.ok((await client.send(get(long))).body.equals(bytes))
  await isAlive(t, service)
  client.socket.destroy()
})

/**
 * Requests /livez ten times per second on new connections, with a timeout of a second like an
 * orchestrator.
 */
async function probe(t: Test, target: Target, isOver: () => boolean): Promise<number[]> {
  const times: number[] = []
  while (!isOver()) {
    const begun = performance.now()
    const client = new Client(target)
    const { status } = await client.send(get('/livez'))
    client.socket.destroy()
    times.push(performance.now() - begun)
    if (status !== 200) t.fail(`/livez is ${status}`)
    await sleep(100)
  }
  return times
}

t.test('a flood of requests that are not HTTP loses no probe, and is a line of log per minute', async (t) => {
  const SECONDS = 10
  const service = await start(t, {})
  const { target } = service
  const notHttp = parserMethods()
    .filter((method) => method !== 'PRI' && !METHODS.includes(method))
    .map((method) => `${method} /a RTSP/1.1\r\n\r\n`)
  t.ok(notHttp.length > 5)

  /**
   * Sends a request many times in one packet on a new connection, and waits until the connection
   * closes.
   */
  async function send(request: string): Promise<void> {
    const socket = connect(target)
      .on('error', () => {})
      .resume()
    socket.write(request.repeat(100))
    await new Promise((resolve) => socket.once('close', resolve))
  }
  async function flood(connections: number, requests: string[]): Promise<number> {
    const end = Date.now() + 1000 * SECONDS
    const isOver = () => Date.now() > end
    const loop = async () => {
      for (let i = 0; !isOver(); i++) await send(requests[i % requests.length] as string)
    }
    const loops = Array.from({ length: connections }, loop)
    const times = await probe(t, target, isOver)
    await Promise.all(loops)
    t.ok(Math.max(...times) < 1000, `every probe of ${times.length} within a second`)
    return quantile(times, 0.99)
  }

  for (const connections of [1, 4]) {
    const beside404 = await flood(connections, [
      'GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    ])
    const p99 = await flood(connections, notHttp)
    t.comment(
      `${connections} connections: 99 % of the probes within ${p99.toFixed(1)} ms, and ${beside404.toFixed(1)} ms beside 404s`,
    )
  }
  const page = await scrape(service)
  t.ok((page[rejectionCount('method')] as number) > 1000)
  t.equal(page.http_requests_in_flight, 0)
  const lines = (await docker('logs', service.container)).split('\n')
  t.equal(
    lines.filter((line) => /"level":"(warn|error)"/.test(line)).length,
    1,
    lines.join('\n').slice(0, 2000),
  )
  await isAlive(t, service)
})

t.test(
  'connections without end, and heads without end, do not kill it while its store is full',
  async (t) => {
    const CONNECTIONS = 15_000
    const HEAD_BYTES = 15 * 1024
    const service = await start(t, {})
    const { target } = service
    const body = randomBytes(1025)
    let stored = 0
    const fill = async () => {
      const client = new Client(target)
      let status = 201
      while (status !== 507)
        ({ status } = await client.send(put(`/api/buckets/${stored++}`, body.length), body))
      client.socket.destroy()
    }
    await Promise.all(Array.from({ length: 8 }, fill))
    const before = await scrape(service)

    const times: number[] = []
    let isOver = false
    /** A client that keeps its connection, and a client that opens one per request. */
    async function behave(): Promise<void> {
      const kept = new Client(target)
      while (!isOver) {
        for (const client of [kept, new Client(target)]) {
          const begun = performance.now()
          const answer = await client.send(get('/api/buckets/1'))
          times.push(performance.now() - begun)
          if (answer.status !== 200 || !answer.body.equals(body)) t.fail(`${answer.status}`)
          if (client !== kept) client.socket.destroy()
        }
        await sleep(5)
      }
      kept.socket.destroy()
    }
    const behaving = behave()
    for (const client of [
      unfinishedHead(HEAD_BYTES),
      unfinishedHead(HEAD_BYTES),
      unfinishedHead(HEAD_BYTES),
      idle,
    ]) {
      const sockets = await openMany(target, client, CONNECTIONS)
      const page = await scrape(service)
      t.ok((page.http_connections as number) < CONNECTIONS)
      t.equal(page.storage_objects, before.storage_objects)
      for (const socket of sockets) socket.destroy()
    }
    isOver = true
    await behaving
    const page = await scrape(service)
    const peak = await peakMemory(service)
    t.comment(
      `${page['http_connections_closed_total{reason="limit"}']} connections closed at the limit; ${times.length} requests beside, ` +
        `99 % within ${quantile(times, 0.99).toFixed(1)} ms; at most ${Math.round(peak / MIB)} MiB resident`,
    )
    t.ok((page['http_connections_closed_total{reason="limit"}'] as number) > CONNECTIONS)
    t.equal(page.storage_objects, before.storage_objects)
    await isAlive(t, service)
  },
)

t.test('a thousand clients that never read their answers take bounded memory', async (t) => {
  const service = await start(t, { RESPONSE_TIMEOUT_SECONDS: '5', STALL_TIMEOUT_SECONDS: '10' })
  const before = await scrape(service)
  // The kernel holds some hundred megabytes of the responses. They are not memory of the service.
  const clients: [count: number, path: string][] = [
    [1000, '/metrics'],
    [100, '/docs/static/swagger-ui-bundle.js'],
  ]
  const sockets: Socket[] = []
  for (const [count, path] of clients) {
    const deaf: SlowClient = (target) => {
      const socket = idle(target).pause()
      socket.write(get(path).repeat(10))
      return socket
    }
    sockets.push(...(await openMany(service.target, deaf, count)))
  }
  const cut = 'http_connections_closed_total{reason="timeout"}'
  await eventually(60, async () => ((await scrape(service))[cut] as number) >= 100)
  const peak = await peakMemory(service)
  t.comment(`at most ${Math.round(peak / MIB)} MiB resident`)
  t.ok(peak < 256 * MIB, `${peak} bytes`)
  for (const socket of sockets) socket.destroy()
  await eventually(10, isIdle(service, before))
  await isAlive(t, service)
})

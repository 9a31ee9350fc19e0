import { Agent } from 'node:http'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { type App, build, listen, scrape, send, until } from '../../helper.ts'
import { limit, within } from '../../limits.ts'
import { freePorts } from '../../process.ts'
import { certificates, hasRedis, messages, startRedis, tlsArguments, waitForEngine } from '../../redis.ts'

t.jobs = 1

type Lines = Record<string, unknown>[]

interface Page {
  buckets: { id: string }[]
  next: string | null
}

interface Act {
  path: string
  method?: string
}

const url = (id: string) => `/api/buckets/${encodeURIComponent(id)}`
const put = (app: App, id: string, payload: Buffer | string = 'hello', headers = {}, query = '') =>
  app.inject({ method: 'PUT', url: url(id) + query, payload, headers })
const readiness = async (app: App) => (await app.inject('/readyz')).json()

/** All pages of a listing. */
async function listAll(app: App, query: string, between = async (_page: number) => {}): Promise<string[]> {
  const ids: string[] = []
  let cursor: string | null = ''
  for (let pages = 0; cursor !== null; pages++) {
    const { payload } = await app.inject(`/api/buckets?${query}&cursor=${cursor}`)
    const page: Page = JSON.parse(payload)
    ids.push(...page.buckets.map(({ id }) => id))
    cursor = page.next
    if (pages > 100_000) throw new Error('no end')
    await between(pages)
  }
  return ids
}

/** The longest time for a request, in milliseconds, whatever the engine does. */
const ANSWER_LIMIT_MS = 2000

/**
 * Sends requests one after another, from several clients at once, until it is stopped.
 *
 * @returns a function that stops it, the number of responses for each status code, and the objects
 * that have been written.
 */
function load(
  t: Test,
  port: number,
  clients: number,
  act: (client: number, number: number) => Act,
  body: Buffer,
) {
  const agent = new Agent({ keepAlive: true })
  const answers = limit(t, ANSWER_LIMIT_MS, 'an answer')
  const statusCodes: Record<number, number> = {}
  let isRunning = true
  const written: string[] = []
  const running = Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      for (let number = 0; isRunning; number++) {
        const options = { port, agent, ...act(client, number) }
        const { statusCode, headers } = await answers.time(() =>
          send(options, options.method === 'PUT' ? body : undefined),
        )
        statusCodes[statusCode] = (statusCodes[statusCode] ?? 0) + 1
        if (statusCode === 503 && headers['retry-after'] === undefined) throw new Error('no Retry-After')
        if (options.method === 'PUT' && statusCode < 300) written.push(options.path)
      }
    }),
  )
  return {
    statusCodes,
    written,
    async stop() {
      isRunning = false
      await running
      agent.destroy()
      await answers.judge()
    },
  }
}

if (hasRedis(t)) {
  t.test('with one server', async (t) => {
    waitForEngine(t)
    const server = await startRedis(t)
    const env = { STORAGE_URL: server.url }
    const start = async (t: Test, more = {}, lines: Lines = []) => {
      await server.ask('flushall')
      const app = build(t, { ...env, ...more }, lines)
      await app.ready()
      return app
    }

    t.test('a HEAD leaves the bytes where they are', async (t) => {
      const app = await start(t)
      await put(app, 'a', Buffer.alloc(1_000_000))
      const sentBytes = async () =>
        Number(/total_net_output_bytes:(\d+)/.exec(await server.ask('info', 'stats'))?.[1])
      const before = await sentBytes()
      const { statusCode, headers } = await app.inject({ method: 'HEAD', url: url('a') })
      t.match([statusCode, headers['content-length']], [200, '1000000'])
      t.ok((await sentBytes()) - before < 100_000)
    })

    t.test(
      'an object is one key, under the prefix, with what there is to know beside its bytes',
      async (t) => {
        const app = await start(t, { STORAGE_KEY_PREFIX: 'mine:' })
        const { headers } = await put(app, '漢 "a', Buffer.from([0, 255, 13, 10]), {}, '?ttl=60')
        t.equal(await server.ask('--raw', 'keys', '*'), 'mine:漢 "a')
        t.equal(await server.ask('strlen', 'mine:漢 "a'), `${81 + 4}`)
        const head = await server.ask('--raw', 'getrange', 'mine:漢 "a', '0', '80')
        const [etag, size, modified, expires] = head.split(/ +/)
        t.strictSame([etag, size], [headers.etag, '4'])
        t.ok(Number(expires) - Number(modified) >= 60)
        t.equal(await server.ask('pexpiretime', 'mine:漢 "a'), `${expires}000`)
        await put(app, '漢 "a')
        t.equal(await server.ask('pexpiretime', 'mine:漢 "a'), '-1')
        t.strictSame((await app.inject(url('漢 "a'))).payload, 'hello')
      },
    )

    t.test('the same bytes have the same entity tag as in memory', async (t) => {
      const [remote, memory] = [await start(t), build(t)]
      for (const bytes of ['', 'a', Buffer.alloc(70_000, 'x')])
        t.equal((await put(remote, 'a', bytes)).headers.etag, (await put(memory, 'a', bytes)).headers.etag)
    })

    t.test("an object's life is ended by the server", async (t) => {
      const app = await start(t)
      await put(app, 'a', 'hello', {}, '?ttl=1')
      t.equal((await scrape(app)).storage_objects, 1)
      await until(async () => (await scrape(app)).storage_objects === 0)
      t.equal((await app.inject(url('a'))).statusCode, 404)
    })

    t.test(
      'others on the same server are neither listed nor touched, and what is none is a fault',
      async (t) => {
        const lines: Lines = []
        const app = await start(t, { STORAGE_KEY_PREFIX: 'a*[b]?\\:', LOG_LEVEL: 'error' }, lines)
        for (const key of ['aa[b]?\\:other', 'a*[b]:other', 'other'])
          await server.ask('set', key, 'no object')
        await server.ask('set', 'a*[b]?\\:foreign', 'no object')
        await server.ask('hset', 'a*[b]?\\:hash', 'field', 'no object')
        await put(app, 'mine')
        t.strictSame(await listAll(app, 'limit=1'), ['mine'])
        t.equal((await app.inject(url('foreign'))).statusCode, 404)
        t.equal((await app.inject(url('hash'))).statusCode, 500)
        t.match(lines, [{ msg: 'request failed', err: { message: /^WRONGTYPE/ } }])
      },
    )

    t.test('every object is on some page, of whatever length, while others come and go', async (t) => {
      const app = await start(t)
      const store = (from: number, to: number) =>
        Promise.all(Array.from({ length: to - from }, (_, i) => put(app, `id-${from + i}`, '')))
      await store(0, 300)
      const there = Array.from({ length: 300 }, (_, i) => `id-${i}`)
      for (const limit of [1, 2, 7, 100, 1000]) {
        t.strictSame(new Set(await listAll(app, `limit=${limit}`)), new Set(there), `by ${limit}`)
      }
      // The server's table grows and is rebuilt. The cursors belong to the former table.
      const seen = new Set(
        await listAll(app, 'limit=2', async (page) => {
          if (page % 10 === 0 && page < 200) await store(300 + page * 20, 500 + page * 20)
        }),
      )
      t.strictSame(
        there.filter((id) => !seen.has(id)),
        [],
      )
      t.equal((await listAll(app, 'prefix=id-299&limit=1000')).length, 11, 'few among many')
      t.strictSame((await app.inject('/api/buckets?prefix=none')).json(), { buckets: [], next: null })
    })

    t.test('a cursor that no page has had is 400, and counts as no outcome', async (t) => {
      const app = await start(t)
      await Promise.all(Array.from({ length: 50 }, (_, i) => put(app, `${i}`)))
      const { next } = (await app.inject('/api/buckets?limit=5')).json()
      const [cluster, , run, cursor] = Buffer.from(next, 'base64url').toString().split(' ')
      const wrong = [
        'an id',
        '',
        `${cluster} 1 ${run} ${cursor}  `,
        `${cluster} 0 ${run} 18446744073709551616  `,
        `${cluster} 0 ${run} -1  `,
        `${cluster} 0 ${run} x  `,
      ]
      for (const text of wrong) {
        const answer = await app.inject(`/api/buckets?cursor=${Buffer.from(text).toString('base64url')}`)
        // An empty cursor means the first page.
        t.equal(answer.statusCode, text === '' ? 200 : 400, text)
      }
      t.equal((await scrape(app))['storage_operations_total{operation="list",outcome="error"}'], 0)
      // A cursor of another cluster or an earlier run of the server: the listing starts again.
      for (const text of [`another0 0 ${run} ${cursor}  `, `${cluster} 0 ${'0'.repeat(40)} ${cursor}  `]) {
        const page = await app.inject(
          `/api/buckets?limit=1000&cursor=${Buffer.from(text).toString('base64url')}`,
        )
        t.equal(page.json().buckets.length, 50)
      }
    })

    t.test('a server that has no more memory is a full store, readable, which takes deletions', async (t) => {
      const app = await start(t)
      await put(app, 'a')
      await server.ask('config', 'set', 'maxmemory', '600000')
      t.after(() => server.ask('config', 'set', 'maxmemory', '0'))
      t.equal((await put(app, 'b')).statusCode, 507)
      t.equal((await app.inject(url('a'))).statusCode, 200)
      const { storage_bytes, storage_bytes_limit, ...others } = await scrape(app)
      t.equal(storage_bytes_limit, 600_000)
      t.ok((storage_bytes as number) > 600_000)
      t.match(others, { 'storage_operations_total{operation="put",outcome="full"}': 1, storage_engine_up: 1 })
      t.equal((await app.inject({ method: 'DELETE', url: url('a') })).statusCode, 204)
      await server.ask('config', 'set', 'maxmemory', '0')
      t.equal((await put(app, 'b')).statusCode, 201)
      t.equal((await scrape(app)).storage_bytes_limit, undefined)
    })

    t.test(
      'uploads and answers to slow clients take no more of this process than MAX_STORE_BYTES',
      async (t) => {
        const app = await start(t, { MAX_STORE_BYTES: '20000000' })
        const port = await listen(app)
        t.equal(
          (await send({ port, path: url('a'), method: 'PUT' }, Buffer.alloc(15_000_000))).statusCode,
          201,
        )
        const slow = connect(port, '127.0.0.1').pause()
        t.after(() => slow.destroy())
        slow.write(`GET ${url('a')} HTTP/1.1\r\nHost: a\r\n\r\n`)
        await until(async () => (await app.inject(url('a'))).statusCode === 503)
        t.equal((await put(app, 'b', Buffer.alloc(6_000_000))).statusCode, 507)
        slow.destroy()
        await until(async () => (await put(app, 'b', Buffer.alloc(6_000_000))).statusCode === 201)
        t.equal((await app.inject(url('a'))).statusCode, 200)
      },
    )

    t.test('whatever large objects clients do not read, small objects have their room', async (t) => {
      // There is room for four large objects. A fifth one would fill the eighth for small objects.
      const [limitBytes, largeBytes] = [50_000_000, 10_000_000]
      const app = await start(t, { MAX_STORE_BYTES: `${limitBytes}` })
      const port = await listen(app)
      await put(app, 'small')
      await send({ port, path: url('large'), method: 'PUT' }, Buffer.alloc(largeBytes))
      const readers = Array.from({ length: 8 }, () => connect(port, '127.0.0.1').pause())
      t.after(() => readers.map((reader) => reader.destroy()))
      for (const reader of readers) reader.write(`GET ${url('large')} HTTP/1.1\r\nHost: a\r\n\r\n`)
      const unread = () =>
        app.connections.replies().filter(({ request }) => request.raw.socket.writableLength > 0).length
      await until(() => unread() >= 4)
      t.equal((await app.inject(url('small'))).statusCode, 200)
      t.equal((await put(app, 'other')).statusCode, 201)
      t.equal(unread(), 4)
      for (const reader of readers) reader.destroy()
      await until(() => app.store.reserve((limitBytes * 7) / 8))
    })

    t.test('two instances are one service: one of 200 creates, and no count is lost', async (t) => {
      const ports = await Promise.all([start(t), start(t)].map(async (app) => listen(await app)))
      const agent = new Agent({ keepAlive: true })
      t.after(() => agent.destroy())
      const to = (client: number) => ({ port: ports[client % 2] as number, path: url('contested'), agent })
      const created = await Promise.all(
        Array.from({ length: 200 }, (_, client) =>
          send({ ...to(client), method: 'PUT', headers: { 'if-none-match': '*' } }, Buffer.from('0')),
        ),
      )
      const statusCodes = created.map(({ statusCode }) => statusCode).sort()
      t.strictSame(statusCodes, [201, ...Array(199).fill(412)])
      async function count(client: number): Promise<void> {
        const { headers, body } = await send(to(client))
        const ifMatch = { 'if-match': headers.etag }
        const next = Buffer.from(`${Number(body) + 1}`)
        const { statusCode } = await send({ ...to(client), method: 'PUT', headers: ifMatch }, next)
        if (statusCode === 412) return count(client)
        if (statusCode !== 204) t.fail(`${statusCode}`)
      }
      await Promise.all(
        Array.from({ length: 20 }, async (_, client) => {
          for (let i = 0; i < 10; i++) await count(client)
        }),
      )
      t.equal(`${(await send(to(0))).body}`, '200')
    })

    t.test('a replica takes no writes: they are 503, and succeed as soon as it is a primary', async (t) => {
      const lines: Lines = []
      const app = await start(t, { LOG_LEVEL: 'warn' }, lines)
      await put(app, 'a')
      const [nobody] = await freePorts(1)
      await server.ask('replicaof', '127.0.0.1', `${nobody}`)
      t.after(() => server.ask('replicaof', 'no', 'one'))
      await until(async () => (await put(app, 'b')).headers['retry-after'] === '1')
      t.match(lines, [{ statusCode: 503, cause: /^READONLY/ }])
      await server.ask('replicaof', 'no', 'one')
      await until(async () => (await put(app, 'b')).statusCode === 201)
    })

    t.test('a script that the server has forgotten is sent again', async (t) => {
      const app = await start(t)
      for (const statusCode of [201, 204]) {
        await server.ask('script', 'flush')
        t.equal((await put(app, 'a')).statusCode, statusCode)
      }
    })
  })

  t.test(
    'a server killed under load: no acknowledged write is lost, nothing hangs, and it is back',
    async (t) => {
      const server = await startRedis(t, ['--appendonly', 'yes', '--appendfsync', 'always'])
      const lines: Lines = []
      const app = build(t, { STORAGE_URL: server.url, LOG_LEVEL: 'info' }, lines)
      const port = await listen(app)
      const { stop, written, statusCodes } = load(
        t,
        port,
        16,
        (client, number) => ({ path: url(`${client}-${number}`), method: 'PUT' }),
        Buffer.from('acknowledged'),
      )
      await until(() => written.length > 500)
      for (let kills = 0; kills < 2; kills++) {
        await server.kill()
        await until(async () => (await scrape(app)).storage_engine_up === 0)
        t.equal((await send({ port, path: '/livez' })).statusCode, 200)
        t.strictSame(await readiness(app), { error: 'storage engine is unreachable' })
        await server.start()
        const before = written.length
        await within(t, 2000, 'back', () => until(() => written.length > before))
        await until(async () => (await scrape(app)).storage_engine_up === 1)
      }
      await stop()
      t.ok((statusCodes[503] ?? 0) > 0, 'there were 503')
      const expected = new Set(['201', '204', '503'])
      t.strictSame(
        Object.keys(statusCodes).filter((code) => !expected.has(code)),
        [],
      )
      const stored = new Set((await listAll(app, 'limit=1000')).map(url))
      t.strictSame(
        written.filter((path) => !stored.has(path)),
        [],
      )
      t.strictSame(messages(lines), [
        'storage engine is available',
        'storage engine is unreachable',
        'storage engine is available',
        'storage engine is unreachable',
        'storage engine is available',
      ])
    },
  )

  t.test(
    'a server that is stopped in its tracks: requests are 503, and the service is back when it goes on',
    async (t) => {
      const server = await startRedis(t)
      const lines: Lines = []
      const app = build(t, { STORAGE_URL: server.url, LOG_LEVEL: 'info' }, lines)
      const port = await listen(app)
      t.equal((await put(app, 'a')).statusCode, 201)
      const running = load(
        t,
        port,
        8,
        (client, number) =>
          client % 2 === 0 ? { path: url('a') } : { path: url(`${number}`), method: 'PUT' },
        Buffer.alloc(1000),
      )
      await until(() => (running.statusCodes[200] ?? 0) > 100)
      const other = build(t, { STORAGE_URL: server.url })
      t.equal((await other.inject(url('a'))).statusCode, 200)
      server.signal('SIGSTOP')
      t.after(() => server.signal('SIGCONT'))
      const page = await within(t, 1000, 'a scrape', () => scrape(app))
      t.equal(page.storage_objects, undefined, 'a scrape has what there is')
      t.equal((await other.inject(url('a'))).statusCode, 503)
      // A check is running. It began within half a second, and takes a second.
      await other.close()
      await until(async () => (await readiness(app)).error === 'storage engine does not answer')
      for (const method of ['GET', 'PUT', 'DELETE'] as const) {
        const { statusCode, headers } = await within(t, 1000, method, () =>
          app.inject({ method, url: url('a'), headers: { 'if-match': '*' } }),
        )
        t.strictSame([statusCode, headers['retry-after']], [503, '1'], method)
      }
      t.equal((await app.inject('/api/buckets')).statusCode, 503)
      server.signal('SIGCONT')
      await within(t, 2000, 'back', () => until(async () => (await app.inject(url('a'))).statusCode === 200))
      await running.stop()
      await until(async () => (await readiness(app)).status === 'ok')
      t.strictSame(messages(lines), [
        'storage engine is available',
        'storage engine does not answer',
        'storage engine is available',
      ])
    },
  )

  t.test(
    'a server that is not there at the start is waited for, and served from as soon as it is',
    async (t) => {
      const server = await startRedis(t)
      await server.kill()
      const lines: Lines = []
      const app = build(t, { STORAGE_URL: server.url, LOG_LEVEL: 'info' }, lines)
      await within(t, 1000, 'the start', async () => app.ready())
      t.equal((await app.inject('/livez')).statusCode, 200)
      t.equal((await app.inject('/readyz')).statusCode, 503)
      t.equal((await put(app, 'a')).statusCode, 503)
      await server.start()
      await within(t, 2000, 'served', () => until(async () => (await put(app, 'a')).statusCode === 201))
      await until(async () => (await app.inject('/readyz')).statusCode === 200)
      t.strictSame(messages(lines), ['storage engine is unreachable', 'storage engine is available'])
    },
  )

  t.test('a server that is loading its data is not ready', async (t) => {
    const server = await startRedis(t, [
      ...['--appendonly', 'yes', '--enable-debug-command', 'yes'],
      ...['--loading-process-events-interval-bytes', '1024', '--key-load-delay', '200'],
    ])
    const app = build(t, { STORAGE_URL: server.url })
    await app.ready()
    await server.ask('debug', 'populate', '20000', 'key', '10')
    await server.ask('bgrewriteaof')
    await until(async () => /aof_rewrite_in_progress:0/.test(await server.ask('info', 'persistence')))
    const loading = server.ask('debug', 'loadaof').catch(() => {})
    await until(async () => (await readiness(app)).error === 'storage engine is loading its data')
    t.equal((await put(app, 'a')).statusCode, 503)
    await server.kill()
    await loading
  })

  t.test('passwords and users: what is right works, what is wrong is told apart', async (t) => {
    const password = 'p:a/s@s w?rd'
    const server = await startRedis(t, ['--requirepass', password], ['--pass', password, '--no-auth-warning'])
    await server.ask('acl', 'setuser', 'storage', 'on', '>secret', '~storage-api:*', '+@all')
    const at = `127.0.0.1:${server.port}`
    const dir = t.testdir({ password: `${password}\n`, wrong: 'wrong' })
    const right = [
      { STORAGE_URL: `redis://:${encodeURIComponent(password)}@${at}` },
      { STORAGE_URL: `redis://storage:secret@${at}` },
      { STORAGE_URL: `redis://${at}/1`, STORAGE_PASSWORD_FILE: `${dir}/password` },
    ]
    for (const env of right) t.ok([201, 204].includes((await put(build(t, env), 'a')).statusCode))
    const wrong = [
      { STORAGE_URL: `redis://${at}` },
      { STORAGE_URL: `redis://:mistaken@${at}` },
      { STORAGE_URL: `redis://storage@${at}`, STORAGE_PASSWORD_FILE: `${dir}/wrong` },
    ]
    for (const env of wrong) {
      const lines: Lines = []
      const app = build(t, { ...env, LOG_LEVEL: 'info' }, lines)
      t.equal((await put(app, 'a')).statusCode, 503)
      await until(() => lines.length > 0)
      const error = 'storage engine refuses the user or the password'
      t.strictSame(await readiness(app), { error })
      t.strictSame(messages(lines), [error])
      t.notMatch(JSON.stringify(lines), /mistaken|wrong/)
    }
  })

  t.test('TLS: an authority that is trusted, and one that is not', async (t) => {
    const dir = await certificates(t)
    const [port = 0] = await freePorts(1)
    await startRedis(t, tlsArguments(dir, port))
    const STORAGE_URL = `rediss://127.0.0.1:${port}`
    const app = build(t, { STORAGE_URL, STORAGE_CA_FILE: `${dir}/ca.crt` })
    const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 251))
    t.equal((await put(app, 'a', bytes)).statusCode, 201)
    t.ok(bytes.equals((await app.inject(url('a'))).rawPayload))
    for (const env of [{ STORAGE_CA_FILE: `${dir}/other.crt` }, {}]) {
      const lines: Lines = []
      const other = build(t, { STORAGE_URL, LOG_LEVEL: 'info', ...env }, lines)
      t.equal((await put(other, 'a')).statusCode, 503)
      await until(() => lines.length > 0)
      const error = 'storage engine has a certificate that is not trusted'
      t.strictSame(await readiness(other), { error })
      t.strictSame(messages(lines), [error])
    }
  })
}

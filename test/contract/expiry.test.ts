import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { buffer } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { build, isRemote } from '../engine.ts'
import { type App, exchange, listen, scrape, stopClock, until } from '../helper.ts'
import { within } from '../limits.ts'

/** For tests of objects that this process holds in memory. */
const ofMemory = { skip: isRemote() && 'it is not this process that keeps it' }

const url = '/api/buckets/a'
const MINUTE_MS = 60_000

const start = (t: Test, env = {}) => ({ clock: stopClock(t), app: build(t, env) })
const put = async (app: App, query = '', headers = {}) =>
  (await app.inject({ method: 'PUT', url: url + query, headers, payload: 'hello' })).statusCode
const get = (app: App) => app.inject(url)
const expiration = async (app: App) => (await get(app)).headers.expiration
const list = async (app: App) => (await app.inject('/api/buckets')).json().buckets

t.test('GET, HEAD and the listing say when an object will be gone, and nothing if it stays', async (t) => {
  const { app, clock } = start(t)
  for (const [query, expires] of [['?ttl=60', clock.now / 1000 + 60], ['']] as const) {
    await put(app, query)
    t.equal(await expiration(app), expires?.toString())
    t.equal((await app.inject({ method: 'HEAD', url })).headers.expiration, expires?.toString())
    t.equal((await list(app))[0].expires, expires)
  }
})

t.test('a life lasts as long as was asked for, and on to the next whole second', async (t) => {
  const { app, clock } = start(t)
  const end = clock.now + MINUTE_MS + 1000
  clock.now++
  await put(app, '?ttl=60')
  t.equal(await expiration(app), `${end / 1000}`)
  clock.now = end - 1
  t.equal((await get(app)).statusCode, 200)
  clock.now = end
  t.equal((await get(app)).statusCode, 404)
})

t.test('what has expired does not exist, for any request and any precondition', async (t) => {
  const { app, clock } = start(t)
  async function expire() {
    await put(app, '?ttl=60')
    clock.now += MINUTE_MS
  }
  for (const method of ['GET', 'HEAD', 'DELETE'] as const) {
    await expire()
    t.equal((await app.inject({ method, url })).statusCode, 404, method)
  }
  const puts: [object, number][] = [
    [{}, 201],
    [{ 'if-match': '*' }, 412],
    [{ 'if-none-match': '*' }, 201],
  ]
  for (const [headers, statusCode] of puts) {
    await expire()
    t.equal(await put(app, '', headers), statusCode)
  }
  await expire()
  t.strictSame(await list(app), [])
})

t.test('what has expired hides none of its neighbours from the listing', async (t) => {
  const { app, clock } = start(t)
  for (const id of ['a?ttl=60', 'b', 'c?ttl=60', 'd?ttl=60', 'e'])
    await app.inject({ method: 'PUT', url: `/api/buckets/${id}` })
  clock.now += MINUTE_MS
  t.strictSame((await list(app)).map(({ id }: { id: string }) => id).sort(), ['b', 'e'])
})

t.test('a PUT begins a new life: its ttl counts, and without one the object stays', async (t) => {
  const { app, clock } = start(t)
  for (const ttl of [60, 120, 30]) {
    await put(app, `?ttl=${ttl}`)
    t.equal(await expiration(app), `${clock.now / 1000 + ttl}`)
  }
  await put(app)
  clock.now += 10 * MINUTE_MS
  t.equal((await get(app)).statusCode, 200)
})

t.test('a PUT whose precondition fails leaves the end of the life where it was', async (t) => {
  const { app, clock } = start(t)
  await put(app, '?ttl=60')
  for (const query of ['', '?ttl=120']) {
    t.equal(await put(app, query, { 'if-none-match': '*' }), 412)
    t.equal(await expiration(app), `${clock.now / 1000 + 60}`)
  }
})

t.test(
  'a ttl is from 1 second to ten years, in decimal digits, and anything else stores nothing',
  async (t) => {
    const { app, clock } = start(t)
    const wrong = '0 -1 1.5 abc 1e3 0x10 %201 %2B1 316224001 1&ttl=2'.split(' ').concat('', '9'.repeat(400))
    for (const ttl of wrong) {
      const answer = await app.inject({ method: 'PUT', url: `${url}?ttl=${ttl}` })
      t.equal(answer.statusCode, 400, ttl)
      t.strictSame(answer.json(), { error: 'ttl must be an integer from 1 to 316224000 seconds' })
    }
    t.strictSame(await list(app), [])
    for (const ttl of [1, 316_224_000]) {
      await put(app, `?ttl=${ttl}`)
      t.equal(await expiration(app), `${clock.now / 1000 + ttl}`)
    }
  },
)

t.test('an object that nobody asks for again is freed after the end of its life', ofMemory, async (t) => {
  const { app, clock } = start(t)
  await put(app, '?ttl=60')
  clock.now += MINUTE_MS
  await within(t, 2000, 'freed', () => until(async () => (await scrape(app)).storage_objects === 0))
  t.equal((await scrape(app)).storage_bytes, 0)
})

t.test('what was deleted or replaced in time has no end to come', ofMemory, async (t) => {
  const { app, clock } = start(t)
  const port = await listen(app)
  const cycle = [`PUT ${url}?ttl=60`, `PUT ${url}?ttl=30`, `DELETE ${url}`]
  const requests = cycle.map((line) => `${line} HTTP/1.1\r\nHost: a\r\n\r\n`).join('')
  const end = 'GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
  let cycles = 0
  for (let i = 0; i < 100; i++) {
    const answers = await exchange(port, requests.repeat(100), end)
    cycles += answers.match(/ 201 Created.*? 204 No Content.*? 204 No Content/gs)?.length ?? 0
  }
  t.equal(cycles, 10_000)
  t.match(await scrape(app), { storage_objects: 0, storage_bytes: 0 })

  await put(app, '?ttl=60')
  await put(app)
  const { storage_bytes } = await scrape(app)
  await app.inject({ method: 'PUT', url: '/api/buckets/last-to-expire?ttl=61' })
  clock.now += 61_000
  await until(async () => (await scrape(app)).storage_objects === 1)
  t.equal((await get(app)).statusCode, 200)
  t.match(await scrape(app), { storage_objects: 1, storage_bytes })
})

t.test('a reader gets the whole of an object whose life ends meanwhile', ofMemory, async (t) => {
  // Larger than the buffers of the sockets.
  const payload = Buffer.alloc(30_000_000, 'all of it ')
  const { app, clock } = start(t, { MAX_OBJECT_BYTES: `${payload.length}` })
  const port = await listen(app)
  await app.inject({ method: 'PUT', url: `${url}?ttl=60`, payload })
  const reading = request({ host: '127.0.0.1', port, path: url, agent: false }).end()
  const [response] = (await once(reading, 'response')) as [IncomingMessage]
  clock.now += MINUTE_MS
  await until(async () => (await scrape(app)).storage_objects === 0)
  t.equal((await scrape(app)).storage_bytes, payload.length, 'what is still being sent counts')
  t.ok(payload.equals(await buffer(response)))
  await until(async () => (await scrape(app)).storage_bytes === 0)
})

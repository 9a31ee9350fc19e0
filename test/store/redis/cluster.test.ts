import { once } from 'node:events'
import { Agent } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import t, { type Test } from 'tap'
import { type App, build, listen, scrape, send, until } from '../../helper.ts'
import { limit, within } from '../../limits.ts'
import { certificates, hasRedis, messages, type Server, startCluster, waitForEngine } from '../../redis.ts'

type Lines = Record<string, unknown>[]

const put = (app: App, id: string, payload = 'hello') =>
  app.inject({ method: 'PUT', url: `/api/buckets/${id}`, payload })
type Answer = Awaited<ReturnType<typeof put>>
const readiness = async (app: App) => (await app.inject('/readyz')).json()

/** The pages of the whole listing, or the pages until the first error. */
async function listPages(app: App, limit: number): Promise<Answer[]> {
  const pages = []
  for (let cursor: string | null | undefined = ''; typeof cursor === 'string'; ) {
    const answer: Answer = await app.inject(`/api/buckets?limit=${limit}&cursor=${cursor}`)
    pages.push(answer)
    cursor = answer.json().next
  }
  return pages
}

async function listAll(app: App, limit: number): Promise<string[]> {
  const pages = await listPages(app, limit)
  return pages.flatMap((answer) => {
    const { buckets }: { buckets: { id: string }[] } = answer.json()
    t.ok(buckets.length <= limit)
    return buckets.map(({ id }) => id)
  })
}

/** PUTs one new object after another, from several clients at once, until it is stopped. */
function write(t: Test, port: number, clients: number) {
  const agent = new Agent({ keepAlive: true })
  t.after(() => agent.destroy())
  const answers = limit(t, 2000, 'an answer')
  const statusCodes: Record<number, number> = {}
  const written: string[] = []
  let isRunning = true
  const running = Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      for (let number = 0; isRunning; number++) {
        const id = `${client}-${number}`
        const options = { port, agent, path: `/api/buckets/${id}`, method: 'PUT' }
        const { statusCode } = await answers.time(() => send(options, Buffer.from('acknowledged')))
        statusCodes[statusCode] = (statusCodes[statusCode] ?? 0) + 1
        if (statusCode < 300) written.push(id)
      }
    }),
  )
  return {
    written,
    statusCodes,
    async stop() {
      isRunning = false
      await running
      await answers.judge()
    },
  }
}

if (hasRedis(t)) {
  t.test('a cluster whose only address is silent: 503, and the service ends all the same', async (t) => {
    const silent = createServer().listen(0, '127.0.0.1')
    t.after(() => silent.close())
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    const app = build(t, { STORAGE_URL: `redis+cluster://127.0.0.1:${port}` })
    t.equal((await put(app, 'a')).statusCode, 503)
    await until(async () => (await readiness(app)).error === 'storage engine does not answer')
    const closed = build(t, { STORAGE_URL: `redis+cluster://127.0.0.1:${port}` })
    await closed.ready()
    // It still waits for the first answer.
    await within(t, 500, 'closing', async () => closed.close())
  })

  t.test('three primaries', async (t) => {
    const { url, servers } = await startCluster(t)
    const app = build(t, { STORAGE_URL: url })
    const ids = Array.from({ length: 300 }, (_, i) => `id-${i}`)

    t.test('share the objects, and a listing goes over all of them', async (t) => {
      waitForEngine(t)
      await Promise.all(ids.map((id) => put(app, id)))
      const sizes = await Promise.all(servers.map(async ({ ask }) => Number(await ask('dbsize'))))
      t.ok(
        sizes.every((size) => size > 50),
        `${sizes}`,
      )
      t.equal((await scrape(app)).storage_objects, 300)
      for (const limit of [1, 7, 1000]) t.strictSame(new Set(await listAll(app, limit)), new Set(ids))
      const { next } = (await app.inject('/api/buckets?limit=5')).json()
      const [cluster, , ...rest] = Buffer.from(next, 'base64url').toString().split(' ')
      const beyond = Buffer.from([cluster, 3, ...rest].join(' ')).toString('base64url')
      t.equal((await app.inject(`/api/buckets?cursor=${beyond}`)).statusCode, 400)
    })

    t.test('give slots to each other, and every object is found wherever it is', async (t) => {
      waitForEngine(t)
      const key = 'storage-api:id-1'
      const slot = await (servers[0] as Server).ask('cluster', 'keyslot', key)
      const counts = await Promise.all(servers.map(({ ask }) => ask('cluster', 'countkeysinslot', slot)))
      const from = servers[counts.findIndex((count) => count !== '0')] as Server
      const to = servers.find((server) => server !== from) as Server
      const [fromId, toId] = await Promise.all([from.ask('cluster', 'myid'), to.ask('cluster', 'myid')])
      await to.ask('cluster', 'setslot', slot, 'importing', fromId)
      await from.ask('cluster', 'setslot', slot, 'migrating', toId)
      t.equal((await app.inject('/api/buckets/id-1')).payload, 'hello', 'not moved yet')
      await from.ask('migrate', '127.0.0.1', `${to.port}`, key, '0', '1000')
      t.equal((await app.inject('/api/buckets/id-1')).payload, 'hello', 'moved, and the slot not yet: ASK')
      t.equal((await put(app, 'id-1', 'changed')).statusCode, 204)
      for (const { ask } of servers) await ask('cluster', 'setslot', slot, 'node', toId)
      t.equal((await app.inject('/api/buckets/id-1')).payload, 'changed', 'MOVED')
      t.equal((await put(app, 'id-1')).statusCode, 204)
      t.strictSame(new Set(await listAll(app, 7)), new Set(ids))
    })

    t.test('and when all of them are gone and back, so is the service', async (t) => {
      await Promise.all(servers.map((server) => server.kill()))
      await until(async () => (await readiness(app)).error === 'storage engine is unreachable')
      t.equal((await put(app, 'a')).headers['retry-after'], '1')
      t.equal((await app.inject('/api/buckets')).statusCode, 503)
      const late = build(t, { STORAGE_URL: url })
      t.equal((await put(late, 'a')).statusCode, 503)
      t.match(await readiness(late), { error: 'storage engine is unreachable' })
      await Promise.all(servers.map((server) => server.start()))
      await until(async () => /cluster_state:ok/.test((await servers[0]?.ask('cluster', 'info')) ?? ''))
      await within(t, 2000, 'both are back', async () => {
        for (const service of [app, late]) {
          await until(async () => (await put(service, 'b')).statusCode < 300)
          await until(async () => (await readiness(service)).status === 'ok')
        }
      })
      t.equal((await app.inject('/api/buckets/id-1')).payload, 'hello')
    })
  })

  t.test('TLS and a password: what is wrong is told apart', async (t) => {
    const tls = await certificates(t)
    const { url, servers } = await startCluster(t, { tls, password: 'secret' })
    const withPassword = (password: string) => url.replace('://', `://:${password}@`)
    const right = { STORAGE_URL: withPassword('secret'), STORAGE_CA_FILE: `${tls}/ca.crt` }
    const app = build(t, right)
    await until(async () => (await readiness(app)).status === 'ok')
    const ids = Array.from({ length: 60 }, (_, i) => `id-${i}`)
    const codes = await Promise.all(ids.map(async (id) => (await put(app, id)).statusCode))
    t.ok(codes.every((code) => code === 201))
    const sizes = await Promise.all(servers.map(async ({ ask }) => Number(await ask('dbsize'))))
    t.ok(
      sizes.every((size) => size > 0),
      `on each of them: ${sizes}`,
    )
    t.strictSame(new Set(await listAll(app, 7)), new Set(ids))
    for (const [wrong, error] of [
      [{ STORAGE_CA_FILE: `${tls}/other.crt` }, 'storage engine has a certificate that is not trusted'],
      [{ STORAGE_URL: withPassword('wrong') }, 'storage engine refuses the user or the password'],
    ] as const) {
      const lines: Lines = []
      const other = build(t, { ...right, ...wrong, LOG_LEVEL: 'info' }, lines)
      t.equal((await put(other, 'a')).statusCode, 503)
      await until(async () => (await readiness(other)).error === error)
      t.strictSame(messages(lines), [error])
    }
  })

  for (const [what, end] of [
    ['killed', (server: Server) => server.kill()],
    ['stopped in its tracks', async (server: Server) => server.signal('SIGSTOP')],
  ] as const) {
    t.test(`a primary is ${what}, and its replica takes over`, async (t) => {
      const { url, servers } = await startCluster(t, { replicas: 1 })
      const lines: Lines = []
      const app = build(t, { STORAGE_URL: url, LOG_LEVEL: 'info' }, lines)
      const { written, statusCodes, stop } = write(t, await listen(app), 16)
      await until(() => written.length > 300)
      const [primary, , , replica] = servers as [Server, Server, Server, Server]
      // A primary may send the first write up to a second after the replica's link is up.
      await until(async () => Number(await replica.ask('dbsize')) > 0)
      t.after(() => primary.signal('SIGCONT'))
      await end(primary)
      await until(async () => (await replica.ask('role')).startsWith('master'))
      await until(async () => /cluster_state:ok/.test(await replica.ask('cluster', 'info')))
      const ofPrimary = '{06S}'
      const isBack = async () => {
        const answers = [await put(app, ofPrimary), ...(await listPages(app, 1000))]
        return answers.every(({ statusCode }) => statusCode < 300)
      }
      await within(t, 2000, 'back', () => until(isBack))
      t.ok(Number(await replica.ask('cluster', 'keyslot', ofPrimary)) <= 5460, 'a slot that was its')
      await stop()
      t.ok((statusCodes[503] ?? 0) > 0, 'there were 503')
      t.strictSame(
        Object.keys(statusCodes).filter((code) => !['201', '204', '503'].includes(code)),
        [],
      )
      const stored = new Set(await listAll(app, 1000))
      t.strictSame(
        written.filter((id) => !stored.has(id)),
        [],
      )
      t.equal((await readiness(app)).status, 'ok')
    })
  }
}

/** How objects are written, and what remains after a failure. */
import { mock } from 'node:test'
import t from 'tap'
import type { Arguments, ConnectionOptions } from '../../../src/store/redis/connection.ts'
import { Lanes, type Transfer } from '../../../src/store/redis/lanes.ts'
import { MOVE } from '../../../src/store/redis/scripts.ts'
import { RedisWriter, STAGING } from '../../../src/store/redis/writer.ts'
import type { NewObject } from '../../../src/store/store.ts'
import { type App, build, scrape, until } from '../../helper.ts'
import { hasRedis, startCluster, startRedis, waitForEngine } from '../../redis.ts'

const KIB = 1024
const MIB = 2 ** 20
const span = () => ({ queuedMs: 0 })
const object = (length: number): NewObject => ({
  bytes: Buffer.alloc(length, 'x'),
  etag: '"e"',
  expires: undefined,
})
const url = (id: string) => `/api/buckets/${encodeURIComponent(id)}`
const put = (app: App, id: string, payload: Buffer, headers = {}, query = '') =>
  app.inject({ method: 'PUT', url: url(id) + query, payload, headers })

/** A writer to a server that answers what `answer` returns. */
function writer(answer: (args: Arguments) => unknown = () => 'created') {
  const commands: { way: string; args: Arguments; bytes?: number; span?: unknown }[] = []
  const lanes = {
    tagFor: () => '',
    async send(_key: string, args: Arguments, _asBuffers: boolean, onSettled?: () => void) {
      commands.push({ way: 'small', args })
      onSettled?.()
      return answer(args)
    },
    async transfer(_key: string, { bytes, span, onSettled }: Transfer, ...all: Arguments[]) {
      for (const args of all) commands.push({ way: 'transfer', args, bytes, span })
      await new Promise(setImmediate)
      onSettled?.()
      return all.map(answer)
    },
  } as unknown as Lanes
  const settled = mock.fn()
  const writer = new RedisWriter(lanes, 'p:')
  return {
    commands,
    settled,
    put: (length: number) => writer.put('p:k', object(length), undefined, span(), settled),
  }
}

t.test('a small object is one small command, one up to 256 KiB one transfer', async (t) => {
  const { commands, settled, put } = writer()
  t.equal(await put(8 * KIB), 'created')
  t.equal(await put(8 * KIB + 1), 'created')
  t.equal(await put(256 * KIB), 'created')
  t.strictSame(
    commands.map(({ way, args, bytes }) => [way, args[0], bytes]),
    [
      ['small', 'EVALSHA', undefined],
      ['transfer', 'EVALSHA', 8 * KIB + 1],
      ['transfer', 'EVALSHA', 256 * KIB],
    ],
  )
  t.equal(settled.mock.callCount(), 3)
})

t.test('a larger one is staged in parts, each of which keeps the time to live, and then moved', async (t) => {
  const { commands, settled, put } = writer()
  t.equal(await put(MIB + 1), 'created')
  const staged = `${commands[0]?.args[3]}`
  t.ok(staged.startsWith(`p:${STAGING}`))
  t.strictSame(
    commands.map(({ way, args, span }) => [way, args[0], span !== undefined]),
    [
      ['transfer', 'EVALSHA', true],
      ...Array(5).fill([
        ['transfer', 'SETRANGE', false],
        ['transfer', 'PEXPIRE', false],
      ]),
      [['small', 'EVALSHA', false]],
    ].flatMap((each) => (Array.isArray(each[0]) ? each : [each])),
  )
  t.strictSame(commands[2]?.args, ['PEXPIRE', staged, '60000'])
  t.equal(settled.mock.callCount(), 1)
})

t.test(
  'one that fails half way is removed, and its bytes are given back once nobody holds them',
  async (t) => {
    let parts = 0
    const { commands, settled, put } = writer(([name]) => {
      if (name === 'SETRANGE' && ++parts === 3) throw new Error('broken')
      if (name === 'UNLINK') throw new Error('broken, too')
    })
    await t.rejects(put(16 * MIB), { message: 'broken' })
    t.strictSame(commands.at(-1)?.args, ['UNLINK', commands[0]?.args[3]])
    t.ok(parts < 9, 'no other part was begun')
    t.equal(settled.mock.callCount(), 1)
  },
)

t.test('a server without memory is full', async (t) => {
  const { put } = writer(([name]) => {
    if (name === 'SETRANGE') throw new Error('OOM command not allowed')
  })
  t.equal(await put(MIB), 'full')
})

if (hasRedis(t)) {
  t.test('with a server', async (t) => {
    waitForEngine(t)
    const server = await startRedis(t)

    t.test(
      'a large object is there as a whole or not at all, with its conditions and its life',
      async (t) => {
        await server.ask('flushall')
        const app = build(t, { STORAGE_URL: server.url })
        const large = Buffer.from(Array.from({ length: 1_000_001 }, (_, i) => i % 251))
        for (const id of ['a', '{a}b', 'a}b', '{}', '}{', '漢{漢}']) {
          t.equal((await put(app, id, large, { 'if-none-match': '*' })).statusCode, 201, id)
          t.equal((await put(app, id, large, { 'if-none-match': '*' })).statusCode, 412)
          t.equal((await put(app, id, large, {}, '?ttl=1000')).statusCode, 204)
          t.ok((await app.inject(url(id))).headers.expiration)
          t.equal((await put(app, id, large)).statusCode, 204)
          t.equal(await server.ask('ttl', `storage-api:${id}`), '-1')
          t.ok((await app.inject(url(id))).rawPayload.equals(large))
        }
        t.equal((await scrape(app)).storage_objects, 6, 'nothing else is left')
      },
    )

    t.test('the server allocates what the object needs, and removes what is never moved', async (t) => {
      await server.ask('flushall')
      const options = {
        isCluster: false,
        isTls: false,
        addresses: [{ host: '127.0.0.1', port: server.port }],
      }
      const ready = Promise.withResolvers<void>()
      const events = { onReady: ready.resolve, onError() {} }
      const lanes = new Lanes({ ...options, ...events } as unknown as ConnectionOptions, () => {})
      t.after(() => lanes.close())
      await until(async () => (await lanes.check('k'))[0] === undefined)
      const send = lanes.send.bind(lanes)
      let meddle = async (_staged: string) => {}
      t.intercept(lanes, 'send', {
        value: async (key: string, args: Arguments, ...rest: []) => {
          if (args[1] === MOVE.sha1) await meddle(args[4] as string)
          return send(key, args, ...rest)
        },
      })
      const writer = new RedisWriter(lanes, 'p:')
      const write = () => writer.put('p:k', object(3 * MIB), undefined, span(), () => {})
      const bytes: number[] = []
      meddle = async (staged) => {
        bytes.push(Number(await server.ask('memory', 'usage', staged)))
        t.ok(Number(await server.ask('pttl', staged)) > 50_000, 'it has an end')
      }
      t.equal(await write(), 'created')
      t.ok((bytes[0] as number) < 3.6 * MIB, `${bytes[0]} bytes`)
      // The server has removed it, and the last part has created it again.
      meddle = async (staged) => {
        await server.ask('del', staged)
        await server.ask('setrange', staged, '100000', 'x')
      }
      await t.rejects(write(), { message: 'TRYAGAIN the object was staged for too long' })
      await until(async () => (await server.ask('dbsize')) === '1')
      t.equal(await server.ask('strlen', 'p:k'), `${3 * MIB + 81}`, 'the object is as it was')
    })

    t.test('in a cluster a large object is staged where its key is', async (t) => {
      const { url: STORAGE_URL } = await startCluster(t)
      const app = build(t, { STORAGE_URL })
      const large = Buffer.alloc(MIB, 'x')
      await until(async () => (await app.inject('/readyz')).statusCode === 200)
      for (const id of ['a', 'b', 'c', 'd', '{a}b', 'a}b', '{}', '}{', '漢{漢}']) {
        t.equal((await put(app, id, large)).statusCode, 201, id)
        t.ok((await app.inject(url(id))).rawPayload.equals(large))
      }
    })
  })
}

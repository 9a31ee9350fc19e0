/** How much of an object is read, and how. */
import t, { type Test } from 'tap'
import { overloaded } from '../../../src/http/errors.ts'
import { Gate } from '../../../src/store/redis/gate.ts'
import type { Lanes, Transfer } from '../../../src/store/redis/lanes.ts'
import { formatHead, HEAD_BYTES } from '../../../src/store/redis/object.ts'
import { RedisReader } from '../../../src/store/redis/reader.ts'
import { type App, build, until } from '../../helper.ts'
import { startLink } from '../../link.ts'
import { hasRedis, startRedis, waitForEngine } from '../../redis.ts'

const KIB = 1024
const MIB = 2 ** 20
const span = () => ({ queuedMs: 0 })
const url = (id: string) => `/api/buckets/${encodeURIComponent(id)}`
const put = (app: App, id: string, payload: Buffer, headers = {}, query = '') =>
  app.inject({ method: 'PUT', url: url(id) + query, payload, headers })

/** The value of an object in the server. */
function value(fill: string, length: number): Buffer {
  const bytes = Buffer.alloc(length, fill)
  return Buffer.concat([Buffer.from(formatHead({ bytes, etag: `"${fill}"`, expires: undefined })), bytes])
}

/** A reader of a server that has a value. `onRead` is called before each command. */
function readerOf(stored: { value: Buffer }, onRead: (range: string[]) => void = () => {}, limitBytes = 1e9) {
  const commands: { way: string; first: number; length: number; span?: unknown }[] = []
  const read = ([, , first, last]: string[]) =>
    stored.value.subarray(Number(first), Number(last) + 1 || undefined)
  const note = (way: string, args: string[], more = {}) => {
    onRead(args)
    commands.push({ way, first: Number(args[2]), length: Number(args[3]) + 1 - Number(args[2]), ...more })
  }
  const lanes = {
    async send(_key: string, args: string[]) {
      note('small', args)
      return read(args)
    },
    async transfer(_key: string, { span }: Transfer, args: string[]) {
      note('transfer', args, { span })
      return [read(args)]
    },
  } as unknown as Lanes
  const memory = new Gate(limitBytes, () => {})
  return { reader: new RedisReader(lanes, memory), commands, memory }
}

t.test('a small object takes one command', async (t) => {
  const { reader, commands } = readerOf({ value: value('a', 8 * KIB) })
  t.equal((await reader.read('k', span()))?.bytes.length, 8 * KIB)
  t.strictSame(commands, [{ way: 'small', first: 0, length: 8 * KIB + HEAD_BYTES }])
})

t.test('an object up to 256 KiB takes two, and the second one reads all of it', async (t) => {
  const { reader, commands } = readerOf({ value: value('a', 256 * KIB) })
  t.equal((await reader.read('k', span()))?.bytes.length, 256 * KIB)
  t.strictSame(commands.slice(1), [
    { way: 'transfer', first: 0, length: 256 * KIB + HEAD_BYTES, span: span() },
  ])
})

t.test('a larger one is read in parts, of which only the first one can be refused', async (t) => {
  const { reader, commands } = readerOf({ value: value('a', MIB + 1) })
  t.equal((await reader.read('k', span()))?.bytes.length, MIB + 1)
  t.strictSame(
    commands.slice(1).map(({ way, length, span }) => [way, length, span !== undefined]),
    [
      ['transfer', 256 * KIB, true],
      ...Array(3).fill(['transfer', 256 * KIB, false]),
      ['transfer', 1, false],
      ['small', HEAD_BYTES, false],
    ],
  )
})

t.test('an object that is replaced while it is read is read anew, and then at once', async (t) => {
  const stored = { value: value('a', MIB) }
  let replacements = 0
  const { reader, commands, memory } = readerOf(stored, ([, , first]) => {
    if (Number(first) > HEAD_BYTES + 256 * KIB) stored.value = value(`${replacements++}`, MIB)
  })
  const object = await reader.read('k', span())
  t.equal(new Set(object?.bytes).size, 1, 'one object')
  t.equal(object?.bytes.length, MIB)
  t.match(commands.at(-1), { way: 'transfer', first: 0, length: 0 }, 'from the first byte to the last')
  await new Promise(setImmediate)
  t.equal(memory.tryEnter(1e9), true)
})

t.test('a part that has become too short is noticed, although the head is the same', async (t) => {
  const whole = value('a', MIB)
  const stored = { value: whole }
  const { reader } = readerOf(stored, () => {
    stored.value = whole.subarray(0, MIB)
  })
  await t.rejects(reader.read('k', span()), overloaded, 'no value is ever whole')
})

t.test('an object that is deleted while it is read is not there', async (t) => {
  const stored = { value: value('a', 100 * KIB) }
  let reads = 0
  const { reader } = readerOf(stored, () => {
    if (++reads === 2) stored.value = Buffer.alloc(0)
  })
  t.equal(await reader.read('k', span()), undefined)
})

t.test('an object that cannot be read leaves no memory taken, and no other part is begun', async (t) => {
  const { reader, commands, memory } = readerOf(
    { value: value('a', 16 * MIB) },
    ([, , first]) => {
      if (Number(first) > MIB) throw new Error('broken')
    },
    16 * MIB,
  )
  await t.rejects(reader.read('k', span()), { message: 'broken' })
  t.ok(commands.length < 10)
  t.equal(memory.tryEnter(16 * MIB), true)
})

t.test('an object keeps its room until its response can keep it, also if its size changes', async (t) => {
  for (const [growth, expected] of [
    [0, 100 * KIB],
    [-50 * KIB, 50 * KIB],
    [10 * KIB, 130 * KIB],
  ] as const) {
    let size = 100 * KIB
    const stored = { value: value('a', size) }
    const { reader, commands, memory } = readerOf(
      stored,
      () => {
        if (commands.length % 2 === 0) return
        size += growth
        stored.value = value('a', size)
      },
      200 * KIB,
    )
    t.equal((await reader.read('k', span()))?.bytes.length, expected)
    t.equal(memory.tryEnter(200 * KIB - expected + 1), false)
    t.equal(memory.tryEnter(200 * KIB - expected), true)
    memory.leave(200 * KIB - expected)
    await new Promise(setImmediate)
    t.equal(memory.tryEnter(200 * KIB), true)
  }
})

t.test('what is being read counts: a large object waits for room, a small one is refused', async (t) => {
  const { reader, memory } = readerOf({ value: value('a', 100 * KIB) }, undefined, 100 * KIB)
  memory.tryEnter(10)
  const waited = span()
  const reading = reader.read('k', waited)
  await new Promise(setImmediate)
  memory.leave(10)
  t.equal((await reading)?.bytes.length, 100 * KIB)
  t.ok(waited.queuedMs > 0)
  await new Promise(setImmediate)
  memory.tryEnter(100 * KIB)
  const select = () => ({ first: 0, last: 99 })
  await t.rejects(reader.read('k', span(), select), overloaded)
})

if (hasRedis(t)) {
  t.test('with a server', async (t) => {
    waitForEngine(t)
    const server = await startRedis(t)
    const start = async (t: Test, env = {}) => {
      await server.ask('flushall')
      const app = build(t, { STORAGE_URL: server.url, ...env })
      await until(async () => (await app.inject('/readyz')).statusCode === 200)
      return app
    }

    t.test('a part, a 304, a 412, a 416 and a HEAD of a large object move less than 16 KiB', async (t) => {
      const link = await startLink(t, server.port)
      const app = await start(t, { STORAGE_URL: `redis://127.0.0.1:${link.port}` })
      const payload = Buffer.alloc(16 * MIB, Buffer.from(Array.from({ length: 251 }, (_, i) => i)))
      const { headers } = await put(app, 'a', payload)
      const requests = [
        [206, 'GET', { range: 'bytes=8000000-8001023' }],
        [206, 'GET', { range: 'bytes=0-1023' }],
        [206, 'GET', { range: 'bytes=-1024' }],
        [304, 'GET', { 'if-none-match': headers.etag }],
        [412, 'GET', { 'if-match': '"another"' }],
        [416, 'GET', { range: 'bytes=16777216-' }],
        [200, 'HEAD', {}],
      ] as const
      for (const [statusCode, method, headers] of requests) {
        const before = await link.counts()
        const answer = await app.inject({ method, url: url('a'), headers: headers as Record<string, string> })
        const after = await link.counts()
        t.equal(answer.statusCode, statusCode)
        const bytes = after.down + after.up - before.down - before.up
        t.ok(bytes < 16 * KIB, `${method} ${JSON.stringify(headers)}: ${bytes} bytes`)
        if (statusCode !== 206) continue
        const [, first, last] = /(\d+)-(\d+)/.exec(`${answer.headers['content-range']}`) ?? []
        t.ok(payload.subarray(Number(first), Number(last) + 1).equals(answer.rawPayload))
      }
    })

    t.test('a reader gets one object, never parts of two, while it is replaced', async (t) => {
      const app = await start(t)
      const sizes = [100, 70_000, 300_000, MIB, 3 * MIB]
      const payload = (number: number) => Buffer.alloc(sizes[number % sizes.length] as number, number)
      await put(app, 'a', payload(0))
      let isOver = false
      const reading = Array.from({ length: 4 }, async () => {
        let reads = 0
        for (; !isOver; reads++) {
          const { rawPayload, headers } = await app.inject(url('a'))
          if (!rawPayload.equals(Buffer.alloc(rawPayload.length, rawPayload[0])))
            t.fail('parts of two objects')
          if (!sizes.includes(rawPayload.length)) t.fail(`${rawPayload.length} bytes: ${headers.etag}`)
        }
        return reads
      })
      for (let number = 1; number <= 60; number++) await put(app, 'a', payload(number))
      isOver = true
      t.ok((await Promise.all(reading)).every((reads) => reads > 0))
    })

    t.test('a staged object is in no listing', async (t) => {
      const app = await start(t)
      await put(app, 'a', Buffer.alloc(300_000))
      await server.ask('copy', 'storage-api:a', 'storage-api:\u0001staged')
      const { buckets } = (await app.inject('/api/buckets')).json()
      t.strictSame(
        buckets.map(({ id }: { id: string }) => id),
        ['a'],
      )
    })
  })
}

import { deepStrictEqual, ok } from 'node:assert'
import { hash } from 'node:crypto'
import { Agent, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http'
import { inspect } from 'node:util'
import t from 'tap'
import { build, isRemote } from '../engine.ts'
import { listen, scrape, send, stopClock, until } from '../helper.ts'

const SEED = Number(process.env.SEED || Math.floor(Math.random() * 2 ** 32))
const OPERATIONS = Number(process.env.OPERATIONS || 20_000)

/**
 * Ids that are prefixes or escaped forms of each other, and ids that UTF-8 and UTF-16 sort
 * differently.
 */
const IDS = 'a ab abc b cb a/b a/b/c a%2Fb a+b a?b a#b a&b=c % %25 ... __proto__ constructor 0 00 " \\'
  .split(' ')
  .concat('a b', 'ab ', 'é', 'e\u0301', '漢', '漢字', '\uffee', '😀', '😀😀', 'é'.repeat(256))

/** Longer than the 64 KiB that one read from a socket returns. */
const LONG = 'x'.repeat(70_000)
const BODIES = ['', '0', '1', '\xff\0', 'x'.repeat(2 ** 16), `0${LONG}`, `1${LONG}`, `${LONG}0`].map((text) =>
  Buffer.from(text, 'latin1'),
)

/** Mulberry32: numbers from 0 to 1 (exclusive), always the same for the same seed. */
function mulberry32(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    const a = Math.imul(state ^ (state >>> 15), state | 1)
    const b = (a + Math.imul(a ^ (a >>> 7), a | 61)) ^ a
    return ((b ^ (b >>> 14)) >>> 0) / 2 ** 32
  }
}

const random = mulberry32(SEED)
const chance = (probability: number) => random() < probability
/** A whole number from 0 to `end - 1`. */
const integer = (end: number) => Math.floor(random() * end)
const pick = <T>(values: readonly T[]) => values[integer(values.length)] as T
const maybe = <T>(probability: number, make: () => T) => (chance(probability) ? make() : undefined)

/** The bytes of an object, and the entity tag that the service gives them. */
interface Payload {
  bytes: Buffer
  etag: string
}

interface Operation {
  method: 'PUT' | 'GET' | 'HEAD' | 'DELETE'
  id: string
  payload?: Payload
  ttl?: number | undefined
  chunked?: boolean
  /** Entity tags, or `*` as the only element. */
  ifMatch: string[] | undefined
  ifNoneMatch: string[] | undefined
  /** Without `first`, the last `last` bytes. A text is a field that the service must ignore. */
  range?: { first?: number; last?: number } | string | undefined
  ifRange?: string | undefined
}

/**
 * The compared part of a response. Of an error this is the text before the colon, without the
 * length.
 */
function outcome(statusCode: number, headers: IncomingHttpHeaders, body: Buffer | string = '') {
  const { etag, expiration, 'content-range': contentRange, 'content-length': contentLength } = headers
  const compared = { statusCode, etag, expiration, contentRange }
  if (statusCode < 400) return { ...compared, contentLength, body: hash('sha1', body) }
  return { ...compared, error: `${body}`.replace(/^\{"error":"([^":]+).*/, '$1') }
}

/** The contract, implemented with a plain map. */
class Model {
  readonly #objects = new Map<string, Payload & { modified: number; expires: number | undefined }>()
  readonly #clock: { now: number }

  constructor(clock: { now: number }) {
    this.#clock = clock
  }

  get(id: string) {
    const object = this.#objects.get(id)
    return object?.expires !== undefined && object.expires * 1000 <= this.#clock.now ? undefined : object
  }

  ids(prefix: string): string[] {
    return IDS.filter((id) => id.startsWith(prefix) && this.get(id))
  }

  /** An object in the form of a list entry. */
  entry(id: string) {
    const { bytes, etag, modified, expires } = this.get(id) ?? {}
    return bytes && { id, size: bytes.length, etag, modified, ...(expires && { expires }) }
  }

  act({ method, id, payload, ttl, ifMatch, ifNoneMatch, range, ifRange }: Operation) {
    const object = this.get(id)
    const isRead = method === 'GET' || method === 'HEAD'
    const failed = (statusCode: number, error: string, headers = {}) =>
      outcome(statusCode, headers, method === 'HEAD' ? '' : error)
    // RFC 9110 section 13.2.1: preconditions are ignored if the response would be neither 2xx nor
    // 412.
    if (!object && !payload) return failed(404, 'not found')

    const etag = object?.etag
    const validators = { etag, expiration: object?.expires?.toString() }
    const isListed = (tags: string[] = []) => etag !== undefined && (tags[0] === '*' || tags.includes(etag))
    const isExcluded = isListed(ifNoneMatch?.map((tag) => tag.replace('W/', '')))
    if (ifMatch && !isListed(ifMatch)) return failed(412, 'precondition failed')
    if (isExcluded) return isRead ? outcome(304, validators) : failed(412, 'precondition failed')

    if (payload) {
      const seconds = this.#clock.now / 1000
      const expires = ttl && Math.ceil(seconds + ttl)
      this.#objects.set(id, { ...payload, modified: Math.floor(seconds), expires })
      return object
        ? outcome(204, { etag: payload.etag })
        : outcome(201, { etag: payload.etag, 'content-length': '0' })
    }
    if (!object || method === 'DELETE') {
      this.#objects.delete(id)
      return outcome(204, {})
    }
    const { bytes } = object
    const size = bytes.length
    const succeed = (statusCode: number, part: Buffer, contentRange?: string) => {
      const headers = { ...validators, 'content-length': `${part.length}`, 'content-range': contentRange }
      return outcome(statusCode, headers, method === 'HEAD' ? '' : part)
    }
    const isRangeWanted = method === 'GET' && (ifRange === undefined || ifRange === etag)
    if (!isRangeWanted || !range || typeof range === 'string') return succeed(200, bytes)
    const { first, last = Number.POSITIVE_INFINITY } = range
    if (first === undefined ? size === 0 && last > 0 : last < first) return succeed(200, bytes)
    const begin = first ?? Math.max(size - last, 0)
    const part = bytes.subarray(begin, first === undefined ? size : last + 1)
    if (part.length === 0) return failed(416, 'range not satisfiable', { 'content-range': `bytes */${size}` })
    return succeed(206, part, `bytes ${begin}-${begin + part.length - 1}/${size}`)
  }
}

function randomOperation(model: Model, payloads: Payload[]): Operation {
  const id = pick(IDS)
  const method = pick(['PUT', 'PUT', 'PUT', 'PUT', 'GET', 'GET', 'GET', 'GET', 'HEAD', 'DELETE'] as const)
  const other = pick(payloads).etag
  const { bytes: { length: size } = '', etag = other } = model.get(id) ?? {}
  const tags = [etag, etag, `W/${etag}`, other, `W/${other}`, '"wrong"', '"a,b"', '""']
  const list = () => (chance(0.2) ? ['*'] : Array.from({ length: 1 + integer(3) }, () => pick(tags)))
  const operation = { method, id, ifMatch: maybe(0.25, list), ifNoneMatch: maybe(0.25, list) }
  if (method === 'DELETE') return operation
  if (method === 'PUT') {
    const ttl = maybe(0.5, () => 1 + integer(20))
    return { ...operation, payload: pick(payloads), ttl, chunked: chance(0.5) }
  }
  const position = () => Math.max(pick([0, 1, size - 1, size, size + 1, integer(size + 2)]), 0)
  const [first, last] = [position(), position()]
  const ignored = pick(['bytes=0-0,2-3', 'bytes=a-b', 'bytes=-', 'bytes 0-1', 'lines=0-1', 'bytes=0-1,'])
  const range = maybe(0.5, () => pick([ignored, { first }, { last }, { first, last }]))
  return { ...operation, range, ifRange: maybe(0.3, () => pick([...tags, 'Sun, 06 Nov 1994 08:49:37 GMT'])) }
}

function headersOf({ ifMatch, ifNoneMatch, range, ifRange, chunked }: Operation): OutgoingHttpHeaders {
  // RFC 9110 section 5.6.1.2: a list may have empty elements.
  const comma = pick([', ', ',', ' ,,\t'])
  const rangeText = typeof range === 'object' ? `bytes=${range.first ?? ''}-${range.last ?? ''}` : range
  return {
    ...(ifMatch && { 'if-match': ifMatch.join(comma) }),
    ...(ifNoneMatch && { 'if-none-match': ifNoneMatch.join(comma) }),
    ...(rangeText && { range: rangeText }),
    ...(ifRange && { 'if-range': ifRange }),
    ...(chunked && { 'transfer-encoding': 'chunked' }),
  }
}

t.test('the service answers any sequence of requests as a plain map would', async (t) => {
  t.comment(`SEED=${SEED} OPERATIONS=${OPERATIONS}`)
  const app = build(t)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.after(() => agent.destroy())
  const connection = { port: await listen(app), agent }
  const clock = stopClock(t)
  const model = new Model(clock)
  let number = 0
  let current: unknown
  const statusCodes: Record<number, number> = {}

  const act = (method: string, id: string, query = '', headers: OutgoingHttpHeaders = {}, body?: Buffer) =>
    send({ ...connection, method, path: `/api/buckets/${encodeURIComponent(id)}${query}`, headers }, body)

  const payloads: Payload[] = []
  for (const bytes of BODIES) {
    payloads.push({ bytes, etag: (await act('PUT', 'a', '', {}, bytes)).headers.etag as string })
  }
  await act('DELETE', 'a')
  t.equal(new Set(payloads.map(({ etag }) => etag)).size, BODIES.length, 'other bytes, another entity tag')
  t.strictSame(
    payloads.filter(({ etag }) => !/^"[^"]+"$/.test(etag)),
    [],
    'entity tags are strong',
  )

  async function request(): Promise<void> {
    number++
    const operation = randomOperation(model, payloads)
    const { method, id, payload, ttl } = operation
    const headers = headersOf(operation)
    current = { method, id, ttl, headers, bytes: payload?.bytes }
    const answer = await act(method, id, ttl ? `?ttl=${ttl}` : '', headers, payload?.bytes)
    deepStrictEqual(outcome(answer.statusCode, answer.headers, answer.body), model.act(operation))
    statusCodes[answer.statusCode] = (statusCodes[answer.statusCode] ?? 0) + 1
  }

  /** Objects expire at whole seconds, so the time is often a whole second, or just before one. */
  function moveClock(): void {
    number++
    clock.now += pick([1, 1000, integer(3000), 1000 - (clock.now % 1000), 999 - (clock.now % 1000)])
  }

  async function list(isChanging: boolean): Promise<void> {
    number++
    const prefix = [...pick(IDS)].slice(0, integer(3)).join('')
    const limit = chance(0.2) ? 1000 : 1 + integer(8)
    const throughout = new Set(model.ids(prefix))
    const ids: string[] = []
    let cursor: string | null = ''
    let changes = isChanging ? integer(25) : 0
    for (let page = 0; cursor !== null; page++) {
      current = { prefix, limit, cursor, isChanging }
      const query = new URLSearchParams({ prefix, limit: `${limit}`, cursor })
      const { body } = await send({ ...connection, path: `/api/buckets?${query}` })
      const { buckets, next }: { buckets: { id: string }[]; next: string | null } = JSON.parse(`${body}`)
      deepStrictEqual(
        buckets,
        buckets.map(({ id }) => model.entry(id)),
      )
      ok(buckets.length <= limit && page <= IDS.length)
      ids.push(...buckets.map(({ id }) => id))
      cursor = next
      for (let i = 0; i < 4 && changes > 0; i++, changes--) {
        await operate()
        for (const id of throughout) if (!model.get(id)) throughout.delete(id)
      }
    }
    current = { prefix, limit, isChanging }
    ok(ids.every((id) => id.startsWith(prefix)))
    // Objects that are created or deleted meanwhile may or may not be listed. An engine may list an
    // id twice.
    const once = isChanging || isRemote() ? [...new Set(ids)] : ids
    const listed = isChanging ? once.filter((id) => throughout.has(id)) : once
    deepStrictEqual(listed.sort(), [...throughout].sort())
    // The number of pages depends on the sweeps. The random numbers must not depend on it.
    for (; changes > 0; changes--) await operate()
  }

  const operate = () => (chance(0.08) ? moveClock() : request())

  try {
    while (number < OPERATIONS) {
      await (chance(0.03) ? list(chance(0.5)) : operate())
    }
  } catch (error) {
    throw new Error(`SEED=${SEED}, operation ${number}: ${inspect(current)}`, { cause: error })
  }
  t.comment(statusCodes)
  t.strictSame(Object.keys(statusCodes), ['200', '201', '204', '206', '304', '404', '412', '416'])

  // A server uses its own clock.
  if (isRemote()) return
  clock.now += 60_000
  for (const id of model.ids('')) await act('DELETE', id)
  await until(async () => (await scrape(app)).storage_objects === 0)
  t.match(await scrape(app), { storage_objects: 0, storage_bytes: 0, http_requests_in_flight: 0 })
})

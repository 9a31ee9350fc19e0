import { Agent } from 'node:http'
import t, { type Test } from 'tap'
import { build } from '../engine.ts'
import { listen, send } from '../helper.ts'
import { within } from '../limits.ts'

type Headers = Record<string, string | string[]>

/** Field values, separated by bars. */
const values = (...lines: string[]) => lines.flatMap((line) => line.split(' | '))

/** A client of a new service, on one connection that stays open. */
async function connected(t: Test) {
  const port = await listen(build(t))
  const agent = new Agent({ keepAlive: true })
  t.after(() => agent.destroy())
  return (method: string, id: string | number, headers: Headers = {}, bytes?: Uint8Array) =>
    send({ port, agent, method, path: `/api/buckets/${id}`, headers }, bytes)
}

/** Each byte differs from its neighbours, and from the bytes whose distance is a power of two. */
const object = (size: number) => Buffer.from(Array.from({ length: size }, (_, i) => i % 251))

/**
 * The requested bytes: from one position to another, or the last ones. Undefined if the Range must
 * be ignored.
 */
type Asked = { first: bigint; last?: bigint | undefined } | { suffix: bigint } | undefined

const HUGE = BigInt('9'.repeat(400))
/** Positions inside and outside of objects. As doubles, some are equal or infinite. */
const POSITIONS = [0n, 4n, 9n, 10n, 99_999n, 2n ** 53n, 2n ** 53n + 1n, HUGE - 1n, HUGE]

/** Values of Range, and the bytes that they request by RFC 9110, 14.1.1 and 14.1.2. */
const RANGES: [string | string[], Asked][] = [
  ...POSITIONS.flatMap((first) =>
    [undefined, ...POSITIONS].map((last): [string, Asked] => [
      `bytes=${first}-${last ?? ''}`,
      { first, last },
    ]),
  ),
  ...[1n, 5n, 11n, 100_001n, ...POSITIONS].map((suffix): [string, Asked] => [`bytes=-${suffix}`, { suffix }]),
  // 1*DIGIT allows leading zeros.
  ['bytes=000-0004', { first: 0n, last: 4n }],
  [`bytes=${'0'.repeat(400)}1-${'0'.repeat(300)}2`, { first: 1n, last: 2n }],
  ['bytes=-00', { suffix: 0n }],
  ['bytes=-005', { suffix: 5n }],
  // 14.1: names of units are case-insensitive. 5.5: white space around a value is not part of it.
  ['Bytes=0-4', { first: 0n, last: 4n }],
  ['BYTES=-5', { suffix: 5n }],
  [' \tbytes=0-4\t ', { first: 0n, last: 4n }],
]

/** Values of Range with several ranges, with another unit, or without any range. */
const IGNORED: (string | string[])[] = [
  ...values(
    'bytes=0-0,2-3 | bytes=0-4, 0-4 | bytes=0-0,20-30 | bytes=200000-,-0 | bytes=0-0,x',
    'items=0-1 | byte=0-1 | bytess=0-1 | none |  | bytes | bytes= | bytes=, | bytes=- | bytes=1',
    'bytes=a-b | bytes=0-b | bytes=a-4 | bytes=0-4x | bytes=0-4-6 | bytes=--4 | bytes=0--4',
    'bytes=+0-4 | bytes=0-+4 | bytes=0.0-4 | bytes=0-1e0 | bytes=0x0-0x4 | bytes=0_0-4 | bytes=\xb2-',
    'bytes==0-4 | bytes:0-4 | bytes 0-4/10 | =0-4 | 0-4 | "bytes=0-4" | bytes=0-4;',
    'bytes =0-4 | bytes= 0-4 | bytes=\t-5 | bytes=0 -4 | bytes=0- 4 | bytes=- 5 | bytes=0-4 5',
    // One range by 5.6.1.2, because empty elements do not count. 14.2 lets a server ignore any
    // Range.
    'bytes=0-4, | bytes=,0-4 | bytes=,, ,-5 ,',
  ),
  ['bytes=0-0', 'bytes=2-3'],
  ['bytes=0-4', 'bytes=0-4'],
]

/** The positions of the first and the last byte to send, or that all or none are sent. */
function oracle(asked: Asked, size: number): [number, number] | 'whole' | 'unsatisfiable' {
  if (asked === undefined) return 'whole'
  if ('suffix' in asked) {
    // RFC 9110, 14.1.2: any suffix but `-0` is satisfiable. But no Content-Range can describe an
    // empty object.
    if (asked.suffix === 0n) return 'unsatisfiable'
    if (size === 0) return 'whole'
    return [asked.suffix < size ? size - Number(asked.suffix) : 0, size - 1]
  }
  const { first, last = HUGE } = asked
  // Invalid by 14.1.1, whatever the size. 14.2 lets a server ignore it.
  if (last < first) return 'whole'
  if (first >= size) return 'unsatisfiable'
  return [Number(first), last < size ? Number(last) : size - 1]
}

t.test('every combination of method, Range, If-Range and size is as RFC 9110 has it', async (t) => {
  const ask = await connected(t)
  const ignored = [undefined, ...IGNORED].map((range) => [range, undefined] as const)
  const dates = ['Thu, 01 Jan 1970 00:00:00 GMT', 'Fri, 31 Dec 9999 23:59:59 GMT']
  for (const size of [0, 1, 10, 100_000]) {
    const whole = object(size)
    const tag = (await ask('PUT', size, {}, whole)).headers.etag as string
    const others = ['"another"', `W/${tag}`, '""', `${tag}, "another"`, '*', tag.slice(1, -1), '', ...dates]
    // Whether If-Range holds does not depend on the size, so one size is enough for those that do
    // not hold.
    const ifRanges = [undefined, tag, ...(size === 10 ? others : [])]
    const fields = [...RANGES, ...ignored].flatMap(([range, asked]) =>
      ifRanges.flatMap((ifRange) => ['GET', 'HEAD'].map((method) => ({ method, range, asked, ifRange }))),
    )
    for (const { method, range, asked, ifRange } of fields) {
      const headers = {
        ...(range !== undefined && { range }),
        ...(ifRange !== undefined && { 'if-range': ifRange }),
      }
      const { statusCode, headers: shown, body } = await ask(method, size, headers)

      // 14.2: Range is only for GET. 13.1.5: If-Range must be the entity tag, if it is present.
      const counts = method === 'GET' && (ifRange === undefined || ifRange === tag)
      const sent = counts ? oracle(asked, size) : 'whole'
      const brief = `${range}`.replace(/(\d)\1{99,}/g, '$1...')
      const [first, last] = Array.isArray(sent) ? sent : [0, size - 1]
      t.strictSame(
        {
          status: statusCode,
          range: shown['content-range'],
          ...(statusCode === 416
            ? { error: typeof JSON.parse(body.toString() || '{}').error }
            : { length: shown['content-length'], etag: shown.etag, body: body.toString('latin1') }),
        },
        sent === 'unsatisfiable'
          ? { status: 416, range: `bytes */${size}`, error: 'string' } // 15.5.17
          : {
              status: sent === 'whole' ? 200 : 206,
              range: sent === 'whole' ? undefined : `bytes ${first}-${last}/${size}`,
              length: `${last + 1 - first}`,
              etag: tag,
              body: method === 'HEAD' ? '' : whole.toString('latin1', first, last + 1),
            },
        `${method} of ${size} bytes, Range: ${brief}, If-Range: ${ifRange}`,
      )
    }
  }
})

t.test('a part has the headers of the whole, and says where it is from', async (t) => {
  const ask = await connected(t)
  await ask('PUT', 'a', {}, object(10))
  const same = { 'x-request-id': 'same' }
  const { date: _, ...whole } = (await ask('GET', 'a', same)).headers
  const { date, ...part } = (await ask('GET', 'a', { ...same, range: 'bytes=1-2' })).headers
  t.match(whole, { 'accept-ranges': 'bytes', 'cache-control': 'no-cache' })
  t.strictSame(part, { ...whole, 'content-length': '2', 'content-range': 'bytes 1-2/10' })
  t.ok(date)
})

t.test('Range counts after If-Match and If-None-Match, and only where they leave a 200', async (t) => {
  const ask = await connected(t)
  const tag = (await ask('PUT', 'a', {}, object(10))).headers.etag as string
  // RFC 9110, 13.2.2, step 5, and 14.2
  for (const [range, counted] of Object.entries({ 'bytes=1-2': 206, 'bytes=20-': 416, 'bytes=': 200 })) {
    const cases: [Headers, number][] = [
      [{ 'if-match': tag }, counted],
      [{ 'if-match': '"another"' }, 412],
      [{ 'if-match': 'malformed' }, 400],
      [{ 'if-none-match': tag }, 304],
      [{ 'if-none-match': '"another"' }, counted],
      [{ 'if-match': tag, 'if-none-match': '"another"', 'if-range': tag }, counted],
      [{ 'if-match': tag, 'if-none-match': '"another"', 'if-range': '"another"' }, 200],
      [{ 'if-none-match': tag, 'if-range': '"another"' }, 304],
    ]
    for (const [headers, expected] of cases) {
      const { statusCode, headers: shown } = await ask('GET', 'a', { range, ...headers })
      const located = expected === 206 || expected === 416
      t.strictSame(
        [statusCode, 'content-range' in shown],
        [expected, located],
        `Range: ${range}, ${JSON.stringify(headers)}`,
      )
    }
  }
})

t.test('Range means nothing to PUT and DELETE, nor where there is nothing', async (t) => {
  const ask = await connected(t)
  for (const range of ['bytes=1-2', 'bytes=20-', 'bytes=-0', 'malformed']) {
    const headers = { range, 'if-range': '"another"' }
    t.equal((await ask('GET', 'a', { range })).statusCode, 404)
    t.equal((await ask('PUT', 'a', headers, object(10))).statusCode, 201)
    t.equal((await ask('PUT', 'a', { range }, object(9))).statusCode, 204)
    t.strictSame((await ask('GET', 'a')).body, object(9))
    t.equal((await ask('DELETE', 'a', { range })).statusCode, 204)
    t.equal((await ask('GET', 'a')).statusCode, 404)
  }
})

t.test('a malformed field of 15 kB means nothing, whatever it repeats', async (t) => {
  const ask = await connected(t)
  await ask('PUT', 'a', {}, object(10))
  const patterns = values(
    '={ }x | =0-4{ }x | =0-4{ ,}x | ={,}x | ={0}-x | ={9}-0 | =0-{9}x | ={0-0,}x | ={-}x',
  )
  for (const pattern of patterns) {
    const [start = '', repeated = '', end = ''] = pattern.split(/[{}]/)
    const range = `bytes${start}${repeated.repeat(15_000 / repeated.length)}${end}`
    const { statusCode } = await within(t, 100, pattern, () => ask('GET', 'a', { range }))
    t.equal(statusCode, 200, pattern)
  }
})

import { once } from 'node:events'
import { Agent, request } from 'node:http'
import t, { type Test } from 'tap'
import { build } from '../engine.ts'
import { exchange, listen, send } from '../helper.ts'
import { within } from '../limits.ts'

type Headers = Record<string, string | string[]>

const METHODS = ['GET', 'HEAD', 'PUT', 'DELETE'] as const
const OLD = 'the old bytes'
const NEW = 'new ones'

/** Field values, separated by bars. */
const values = (...lines: string[]) => lines.flatMap((line) => line.split(' | '))

/** A client of a new service, on one connection that stays open. */
async function connected(t: Test, env: NodeJS.ProcessEnv = {}) {
  const port = await listen(build(t, env))
  const agent = new Agent({ keepAlive: true })
  t.after(() => agent.destroy())
  const ask = async (method: string, id: string | number, headers: Headers = {}, bytes?: string) => {
    const path = `/api/buckets/${id}`
    const answer = await send({ port, agent, method, path, headers }, bytes ? Buffer.from(bytes) : undefined)
    return { status: answer.statusCode, headers: answer.headers, body: answer.body.toString() }
  }
  const put = async (id: string | number, bytes: string) =>
    (await ask('PUT', id, {}, bytes)).headers.etag as string
  const stored = async (id: string | number) => {
    const { status, body } = await ask('GET', id)
    return status === 404 ? undefined : body
  }
  return { port, ask, put, stored }
}

/** A precondition: absent, `*`, or a list of entity tags. */
type Condition = undefined | '*' | readonly string[]

/**
 * RFC 9110, 8.8.3.2: weak comparison accepts any two tags, strong comparison only two strong ones.
 */
const opaque = (tag: string) => tag.slice(tag.indexOf('"'))
const weakly = (a: string, b: string) => opaque(a) === opaque(b)
const strongly = (a: string, b: string) => a === b && a.startsWith('"')

/**
 * Whether a condition matches the stored object. RFC 9110, 13.1.1 and 13.1.2: `*` matches any
 * object.
 */
function names(condition: '*' | readonly string[], current: string | undefined, equal: typeof weakly) {
  if (current === undefined) return false
  return condition === '*' || condition.some((tag) => equal(tag, current))
}

/** The expected status code. `current` is the entity tag of the stored object, if there is one. */
function oracle(method: string, current: string | undefined, ifMatch: Condition, ifNoneMatch: Condition) {
  // RFC 9110, 13.2.1: preconditions count only if the response without them would be 2xx or 412.
  if (current === undefined && method !== 'PUT') return 404
  // 13.2.2, step 1
  if (ifMatch && !names(ifMatch, current, strongly)) return 412
  // 13.2.2, step 3
  const reads = method === 'GET' || method === 'HEAD'
  if (ifNoneMatch && names(ifNoneMatch, current, weakly)) return reads ? 304 : 412
  // 13.2.2, step 6; 9.3.4 and 9.3.5
  if (reads) return 200
  return current === undefined ? 201 : 204
}

t.test('every combination of method, If-Match and If-None-Match is as RFC 9110 has it', async (t) => {
  const { ask, put, stored } = await connected(t)
  const [tag, newTag] = [await put('old', OLD), await put('new', NEW)]
  const conditions: Condition[] = [undefined, '*', [tag], [`W/${tag}`], ['"b"'], ['"b"', tag], ['"b"', '"c"']]
  const combinations = METHODS.flatMap((method) =>
    [OLD, undefined].flatMap((before) =>
      conditions.flatMap((ifMatch) =>
        conditions.map((ifNoneMatch) => ({ method, before, ifMatch, ifNoneMatch })),
      ),
    ),
  )
  const field = (name: string, condition: Condition): Headers =>
    condition ? { [name]: typeof condition === 'string' ? condition : condition.join(', ') } : {}
  for (const [id, { method, before, ifMatch, ifNoneMatch }] of combinations.entries()) {
    if (before) await put(id, before)
    const headers = { ...field('if-match', ifMatch), ...field('if-none-match', ifNoneMatch) }
    const { status, headers: shown, body } = await ask(method, id, headers, method === 'PUT' ? NEW : '')

    const expected = oracle(method, before && tag, ifMatch, ifNoneMatch)
    const acts = expected === 201 || expected === 204
    const shows = expected === 200 || expected === 304
    t.strictSame(
      {
        status,
        body: status >= 400 && body ? typeof JSON.parse(body).error : body,
        etag: shows || (acts && method === 'PUT') ? shown.etag : undefined,
        cacheControl: shows ? shown['cache-control'] : undefined,
        stored: await stored(id),
      },
      {
        status: expected,
        body: method === 'HEAD' || expected === 304 || acts ? '' : shows ? OLD : 'string',
        etag: shows ? tag : acts && method === 'PUT' ? newTag : undefined,
        cacheControl: shows ? 'no-cache' : undefined,
        stored: !acts ? before : method === 'PUT' ? NEW : undefined,
      },
      `${method} ${before ?? 'nothing'}, If-Match: ${ifMatch}, If-None-Match: ${ifNoneMatch}`,
    )
  }
})

t.test('a 304 ends with its headers, and has no other length than 200 has', async (t) => {
  const { port, put } = await connected(t)
  const tag = await put('a', OLD)
  for (const method of ['GET', 'HEAD']) {
    const fields = `Host: a\r\nIf-None-Match: ${tag}\r\nConnection: close\r\n\r\n`
    const answer = await exchange(port, `${method} /api/buckets/a HTTP/1.1\r\n${fields}`)
    t.match(answer, /^HTTP\/1.1 304 /)
    t.equal(answer.indexOf('\r\n\r\n'), answer.length - 4)
    // RFC 9110, 8.6
    t.equal(/^content-length: *(\d+)/im.exec(answer)?.[1] ?? `${OLD.length}`, `${OLD.length}`)
  }
})

t.test('a list is read as RFC 9110 writes it: empty elements, commas in tags, several lines', async (t) => {
  const { ask, put } = await connected(t)
  const tag = await put('a', OLD)
  const inner = tag.slice(1, -1)
  const odd = '"!#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~\x80\xe9\xff"'
  const having: (string | string[])[] = [
    ...values(`"a,b", ${tag} | "a",${tag},"b" | ,, ,${tag},, | \t"a"\t,\t \t${tag} \t, | "\\", ${tag}`),
    ...values(`"", "*", W/"", "W/", ${tag} | ${odd}, ${tag}`),
    ['"a"', tag],
    [tag, '', '"a"'],
  ]
  const lacking: (string | string[])[] = [
    ...values(`"" | "*" | ${odd} | "a,${inner}" | "${inner},a" | "${inner.slice(1)}" | "W/${inner}"`),
    ['"a"', '"b"'],
    // RFC 9110, 13.1.1 and 5.6.1.2: a list of entity tags may be empty.
    ...['', ' , ,'],
  ]
  for (const [fields, expected] of [[having, [200, 304]] as const, [lacking, [412, 200]] as const]) {
    for (const field of fields) {
      const ifMatch = await ask('GET', 'a', { 'if-match': field })
      const ifNoneMatch = await ask('GET', 'a', { 'if-none-match': field })
      t.strictSame([ifMatch.status, ifNoneMatch.status], expected, `${field}`)
    }
  }
})

t.test('a field that is neither * nor a list of entity tags is 400, and has no effect', async (t) => {
  const { ask, put, stored } = await connected(t)
  await put('something', OLD)
  const malformed = [
    ...values(
      `a | 'a' | " | "a | a" | "a" "b" | "a""b" | "a b" | "a\tb" | "a";"b" | "a", b | "a", "b`,
      `w/"a" | W/ "a" | W/a | W/ | W"a" | W/W/"a" | W/* | ** | *, "a" | "a", * | *, | ,* | *, *`,
    ),
    ['*', '"a"'],
    ['*', '*'],
    ['"a', 'b"'],
  ]
  for (const field of malformed) {
    for (const name of ['if-match', 'if-none-match']) {
      for (const method of METHODS) {
        for (const id of ['something', 'nothing']) {
          const { status, body } = await ask(method, id, { [name]: field }, method === 'PUT' ? NEW : '')
          const error = `${name} must be * or a list of entity tags in double quotes`
          t.strictSame(
            [status, body, await stored(id)],
            [400, method === 'HEAD' ? '' : JSON.stringify({ error }), id === 'something' ? OLD : undefined],
            `${method} ${id}, ${name}: ${field}`,
          )
        }
      }
    }
  }
})

t.test('dates are ignored, for nothing stored has one', async (t) => {
  const { ask, put } = await connected(t)
  await put('a', OLD)
  const dates = {
    'if-modified-since': 'Fri, 31 Dec 9999 23:59:59 GMT',
    'if-unmodified-since': 'Thu, 01 Jan 1970 00:00:00 GMT',
  }
  const statuses = { GET: 200, HEAD: 200, PUT: 204, DELETE: 204 }
  for (const method of METHODS) {
    const { status, headers } = await ask(method, 'a', dates, method === 'PUT' ? NEW : '')
    t.strictSame([status, headers['last-modified']], [statuses[method], undefined], method)
  }
})

t.test('preconditions are ignored where the answer without them is an error', async (t) => {
  const { ask, put, stored } = await connected(t, { MAX_OBJECT_BYTES: '300000', MAX_STORE_BYTES: '100000' })
  await put('a', OLD)
  const cases: [number, string, string, Headers?, string?][] = [
    [413, 'PUT', 'a', {}, 'x'.repeat(300_001)],
    [507, 'PUT', 'a', {}, 'x'.repeat(200_000)],
    [415, 'PUT', 'a', { 'content-encoding': 'gzip' }, NEW],
    [400, 'PUT', 'a', { 'content-range': 'bytes 0-0/2' }, 'x'],
    [414, 'PUT', 'x'.repeat(513), {}, NEW],
    [414, 'GET', 'x'.repeat(513)],
    [405, 'POST', 'a'],
    [404, 'GET', 'a/b'],
  ]
  for (const [expected, method, id, headers, bytes] of cases) {
    for (const [name, value] of Object.entries({ 'if-match': '"another"', 'if-none-match': '*' })) {
      const { status } = await ask(method, id, { ...headers, [name]: value }, bytes)
      t.equal(status, expected, `${method} ${id.slice(0, 9)}, ${name}: ${value}`)
    }
  }
  t.equal(await stored('a'), OLD)
})

t.test('a write whose precondition ceases to hold while its bytes arrive is 412', async (t) => {
  const { port, ask, put, stored } = await connected(t)
  const conditions: Record<string, Headers> = {
    created: { 'if-none-match': '*' },
    replaced: { 'if-match': await put('replaced', OLD) },
  }
  for (const [id, condition] of Object.entries(conditions)) {
    const headers = { ...condition, expect: '100-continue', 'content-length': '4' }
    const upload = request({ host: '127.0.0.1', port, method: 'PUT', path: `/api/buckets/${id}`, headers })
    upload.flushHeaders()
    await once(upload, 'continue')
    upload.write('ha')
    await ask('PUT', id, condition, NEW)
    upload.end('lf')
    const [response] = await once(upload, 'response')
    t.strictSame([response.resume().statusCode, await stored(id)], [412, NEW], id)
  }
})

t.test('equal bytes have one strong tag, in any service and under any id, and others another', async (t) => {
  const [one, other] = [await connected(t), await connected(t)]
  const objects = ['', 'a', 'b', 'aa', OLD, NEW, 'x'.repeat(70_000), `${'x'.repeat(69_999)}y`]
  const tags = []
  for (const bytes of objects) {
    const tag = await one.put('a', bytes)
    t.match(tag, /^"[^"\s]+"$/)
    t.strictSame([await one.put('b', bytes), await other.put('c', bytes)], [tag, tag])
    for (const method of ['GET', 'HEAD']) t.equal((await one.ask(method, 'a')).headers.etag, tag, method)
    tags.push(tag)
  }
  t.equal(new Set(tags).size, objects.length)
})

t.test('a malformed field of 15 kB is 400, whatever it repeats', async (t) => {
  const { ask, put } = await connected(t)
  await put('a', OLD)
  const patterns = values(
    '"a"{ }x | "a",{ }x | "a"{ },"b" x | { ,}x | {\t, }"a"x | {"a",}x | {"a" }x | "{a} | {W/}',
  )
  for (const pattern of patterns) {
    const [start = '', repeated = '', end = ''] = pattern.split(/[{}]/)
    const field = start + repeated.repeat(15_000 / repeated.length) + end
    for (const name of ['if-match', 'if-none-match']) {
      const what = `${name}: ${pattern}`
      const { status } = await within(t, 100, what, () => ask('GET', 'a', { [name]: field }))
      t.equal(status, 400, what)
    }
  }
})

import * as grammar from './fuzz-grammar.ts'

const { CANARY } = grammar

/** A request that is certainly valid and whose end is certain. */
export interface FuzzRequest {
  /** The request as latin1. */
  bytes: string
  method: string
  /** Whether its response is the last one of the connection. Undefined if that is uncertain. */
  closes: boolean | undefined
}

/** Everything that one client sends on one connection. */
export interface Conversation {
  requests: FuzzRequest[]
  /**
   * The bytes after them, as latin1: nothing, or a malformed or dubious request and some more
   * requests.
   */
  others: string[]
  last: 'request' | 'malformed' | 'dubious'
  /** The bytes of all of them, or only the first bytes, in this many writes. */
  writes: Buffer[]
  /**
   * What the client does at the end: it reads all responses, ends its side, or resets the
   * connection at once or at the first response.
   */
  end: 'read' | 'half' | 'reset' | 'interrupt'
}

/** Entity tags and cursors of earlier responses. */
export const known = { etags: ['"a"'], cursors: ['YQ'] }

/** Mulberry32: pseudo-random numbers from 0 to 1, the same for the same seed. */
function mulberry32(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * Whether the router rejects a target because it does not decode to UTF-8. This closes the
 * connection.
 */
function isUnroutable(target: string): boolean | undefined {
  // The router finds the path after the host of an absolute target.
  if (target.startsWith('http')) return undefined
  try {
    decodeURIComponent(target.split(/[?#]/, 1)[0] as string)
    return false
  } catch {
    return true
  }
}

/** Makes random conversations. They are the same for the same seed, except for {@link known}. */
export function conversations(seed: number, maxObjectBytes: number): () => Conversation {
  const random = mulberry32(seed)
  const int = (below: number) => Math.floor(random() * below)
  const chance = (probability: number) => random() < probability
  const pick = <T>(choices: readonly T[]) => choices[int(choices.length)] as T
  const filler = Buffer.from(Array.from({ length: 2 * maxObjectBytes }, () => int(256))).toString('latin1')

  function id(): string {
    if (chance(0.9)) return `${CANARY}-${int(chance(0.5) ? 50 : 5000)}`
    return (chance(0.5) ? CANARY : '') + pick(grammar.ODD_IDS)
  }

  function cursor(): string {
    const kind = random()
    if (kind < 0.3) return pick(grammar.TEXTS)
    return kind < 0.6 ? mutate(pick(known.cursors)).replace(/[^\w-]/g, '') : pick(known.cursors)
  }

  function path(): string {
    const kind = random()
    if (kind < 0.7) return `/api/buckets/${id()}`
    if (kind < 0.8) return `/api/buckets/${id()}?ttl=${pick(grammar.TTLS)}`
    if (kind < 0.82) return `http://${CANARY}/api/buckets/${id()}?${pick(grammar.TEXTS)}`
    if (kind < 0.94) return pick(grammar.OTHER_PATHS)
    if (kind < 0.945) return pick(grammar.PAGES)
    const [prefix, limit, other] = [pick(grammar.TEXTS), pick(grammar.LIMITS), pick(grammar.TEXTS)]
    const query = [`prefix=${prefix}`, `limit=${limit}`, `cursor=${cursor()}`, `${CANARY}=${other}`]
    return `/api/buckets?${query.filter(() => chance(0.5)).join('&')}`
  }

  function field(): string {
    if (chance(0.6)) return pick(grammar.FIELDS)
    const tag = pick([...known.etags.slice(-5), '*', '', 'x', `"${CANARY}"`, '"a" "b"', ',"a" , ,'])
    return `${pick(['If-Match', 'If-None-Match', 'If-Range'])}: ${pick(['', '', 'W/', '"a", '])}${tag}\r\n`
  }

  const manyFields = (count: number) => Array.from({ length: count }, field).join('')
  const fields = () => (chance(0.5) ? '' : manyFields(int(chance(0.95) ? 4 : 90)))

  function content(): string {
    const size = random()
    const length = size < 0.8 ? int(100) : size < 0.98 ? int(2000) : maxObjectBytes + int(3) - 1
    return (CANARY + filler.slice(int(maxObjectBytes))).slice(0, length)
  }

  function chunked(content: string): string {
    let chunks = ''
    for (let rest = content; rest !== ''; ) {
      const chunk = rest.slice(0, 1 + int(rest.length))
      rest = rest.slice(chunk.length)
      chunks += `${chunk.length.toString(16)}${chance(0.1) ? `;${CANARY}=1` : ''}\r\n${chunk}\r\n`
    }
    return `${chunks}0\r\n${chance(0.1) ? `X-${CANARY}: ${CANARY}\r\n` : ''}\r\n`
  }

  /** The end of the head and the body. */
  function body(method: string): string {
    if (method !== 'PUT' && chance(0.9)) return '\r\n'
    const bytes = content()
    if (chance(0.2)) return `Transfer-Encoding: chunked\r\n\r\n${chunked(bytes)}`
    return `Content-Length: ${bytes.length}\r\n\r\n${bytes}`
  }

  function request(): FuzzRequest {
    const method = pick(chance(0.85) ? grammar.COMMON_METHODS : grammar.OTHER_METHODS)
    const kind = random()
    const target = kind < 0.01 && chance(0.3) ? pick(grammar.PAGES) : path()
    const start = `${method} ${target} HTTP/1.`
    const end = fields() + body(method)
    const closes = isUnroutable(target)
    if (kind > 0.01) return { bytes: `${start}1\r\n${pick(grammar.HOSTS)}${end}`, method, closes }
    if (kind > 0.004)
      return { bytes: `${start}1\r\n${pick(grammar.CLOSING_HEADERS)}${end}`, method, closes: true }
    // Whether the connection closes depends on whether the body is read, and on Connection:
    // keep-alive.
    if (kind > 0.002)
      return { bytes: `${start}1\r\nHost: a\r\nExpect: 100-continue\r\n${end}`, method, closes: undefined }
    return { bytes: `${start}0\r\n${end}`, method, closes: undefined }
  }

  function mutate(bytes: string): string {
    const at = int(bytes.length)
    const slice = bytes.slice(at, at + 1 + int(8))
    const [before, after] = [bytes.slice(0, at), bytes.slice(at)]
    return pick([
      () => before + String.fromCharCode(bytes.charCodeAt(at) ^ (1 << int(8))) + after.slice(1),
      () => before + String.fromCharCode(int(256)) + after,
      () => before + after.slice(slice.length),
      () => before + slice + after,
      () => before + bytes.slice(int(bytes.length)),
    ])()
  }

  const put = () => `PUT /api/buckets/${id()} HTTP/1.1\r\nHost: a\r\n${fields()}`

  /** A request that is rejected, or bytes that end a rejected request. */
  function malformed(): string {
    return pick([
      () => `${pick(grammar.MALFORMED_METHODS)} ${path()} HTTP/1.1\r\nHost: a\r\n\r\n`,
      () => `GET ${pick(grammar.MALFORMED_TARGETS)} HTTP/1.1\r\nHost: a\r\n\r\n`,
      () => `GET ${path()} ${pick(grammar.MALFORMED_VERSIONS)}\r\nHost: a\r\n\r\n`,
      () => `CONNECT ${pick(['a:80', path()])} HTTP/1.1\r\nHost: a\r\n${fields()}\r\n${content()}`,
      () => `${put()}${pick(grammar.MALFORMED_FRAMINGS)}\r\n${content()}`,
      () => `${put()}${pick(grammar.MALFORMED_LINES)}\r\n`,
      () => `${put()}Transfer-Encoding: chunked\r\n\r\n${pick(grammar.MALFORMED_CHUNKS)}`,
    ])()
  }

  /** Bytes that may be rejected, or served, or never end. */
  function dubious(): string {
    const { bytes } = request()
    return pick([
      () => `${put()}Content-Length: ${int(200)}\r\n\r\n${content()}`,
      () => `${put()}Content-Length: 9007199254740993\r\n\r\n`,
      () => `${put()}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n`,
      () => pick(grammar.GARBAGE) + filler.slice(0, int(50)),
      () => mutate(bytes),
      () => mutate(mutate(mutate(bytes))),
      () => mutate(bytes + bytes),
    ])()
  }

  function cut(bytes: Buffer): Buffer[] {
    if (chance(0.7)) return [bytes]
    const at = int(bytes.length)
    return [bytes.subarray(0, at), ...cut(bytes.subarray(at))]
  }

  return () => {
    const last = pick(['request', 'request', 'malformed', 'dubious'] as const)
    const requests = Array.from({ length: last === 'request' ? 1 + int(40) : int(12) }, request)
    const others = Array.from({ length: last === 'request' ? 0 : int(3) }, () => request().bytes)
    if (last !== 'request') others.unshift(last === 'malformed' ? malformed() : dubious())
    const end = chance(0.9) ? 'read' : pick(['half', 'reset', 'interrupt'] as const)
    const bytes = Buffer.from([...requests.map(({ bytes }) => bytes), ...others].join(''), 'latin1')
    const sent = end === 'read' || chance(0.3) ? bytes : bytes.subarray(0, int(bytes.length))
    return { requests, others, last, writes: cut(sent), end }
  }
}

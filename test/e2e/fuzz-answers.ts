import { CANARY } from './fuzz-grammar.ts'
import { type FuzzRequest, known } from './fuzz-requests.ts'

/** The status codes of a healthy service without tokens, for a client that does not stall. */
export const STATUSES = new Set([
  ...[200, 201, 204, 206, 304],
  ...[400, 404, 405, 412, 413, 414, 415, 416, 417, 431, 501, 505, 507],
])
/** The response body of `/`, which is not measured. */
const REDIRECT = 303

/**
 * The field that a status code requires (RFC 9110 sections 8.8.3, 15.3.7.1, 15.4.4, 15.5.6 and
 * 15.5.17).
 */
const REQUIRED_FIELDS: Record<number, string> = {
  ...{ 201: 'etag', 206: 'content-range', 303: 'location', 304: 'etag', 405: 'allow', 416: 'content-range' },
}

/**
 * A status line, and fields without white space around their values (RFC 9112 sections 4 and 5).
 */
const HEAD = /^HTTP\/1\.1 (\d{3}) [ -~]+((?:\r\n[\w!#$%&'*+.^`|~-]+: [!-~](?:[ -~]*[!-~])?)*)$/

/** Counts of all responses by status code, and of all error messages without their numbers. */
export const seen = { statuses: {} as Record<number, number>, errors: new Set<string>() }

/** Reads the responses of one connection strictly by RFC 9112. */
export class AnswerReader {
  /** The number of final responses so far. */
  answers = 0
  /** Whether the last response announced the end of the connection. */
  isClosing = false
  /** The bytes of a response that is not complete yet. */
  #rest = ''
  readonly #requests: FuzzRequest[]

  /**
   * @param the requests whose responses come first. The responses to any other bytes are uncertain.
   */
  constructor(requests: FuzzRequest[]) {
    this.#requests = requests
  }

  /** @throws {Error} that says what is wrong with a response. */
  read(text: string): void {
    this.#rest += text
    while (this.#rest !== '' && this.#readAnswer()) {}
  }

  /**
   * Whether all responses are complete. The last one may be the response to a HEAD among the
   * uncertain bytes.
   */
  isComplete(): boolean {
    return this.#rest === '' || (this.answers >= this.#requests.length && this.#rest.endsWith('\r\n\r\n'))
  }

  /** Reads one response if it is complete. */
  #readAnswer(): boolean {
    if (this.isClosing) throw new Error('bytes after connection: close')
    const end = this.#rest.indexOf('\r\n\r\n')
    if (end === -1) return false
    const [, code, lines] = HEAD.exec(this.#rest.slice(0, end)) ?? []
    if (code === undefined || lines === undefined) throw new Error('malformed status line or field')
    const status = Number(code)
    const fields = readFields(lines)
    const request = this.#requests[this.answers]
    const rest = this.#rest.slice(end + 4)
    const isBodiless = request === undefined ? rest.startsWith('HTTP/1.1 ') : request.method === 'HEAD'
    const length = isBodiless ? 0 * contentLength(status, fields) : contentLength(status, fields)
    if (rest.length < length) return false
    this.#rest = rest.slice(length)
    if (status === 100) return true
    seen.statuses[status] = (seen.statuses[status] ?? 0) + 1
    this.isClosing = fields.get('connection')?.toLowerCase() === 'close'
    check(status, fields, rest.slice(0, length))
    if (request?.closes === !this.isClosing)
      throw new Error(this.isClosing ? 'it closes' : 'it does not close')
    this.answers++
    return true
  }
}

function readFields(lines: string): Map<string, string> {
  const fields = new Map<string, string>()
  for (const line of lines.split('\r\n').slice(1)) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon).toLowerCase()
    if (fields.has(name)) throw new Error(`${name} twice`)
    if (line.includes(CANARY)) throw new Error(`the request in ${name}`)
    fields.set(name, line.slice(colon + 2))
  }
  return fields
}

/**
 * The length of a response's content. Each response has it, except those that must not (RFC 9110
 * section 8.6).
 */
function contentLength(status: number, fields: Map<string, string>): number {
  const length = fields.get('content-length')
  const hasNone = status === 100 || status === 204 || (status === 304 && length === undefined)
  if (hasNone ? length !== undefined : !/^\d+$/.test(length ?? ''))
    throw new Error(`content-length ${length}`)
  if (fields.has('transfer-encoding')) throw new Error('transfer-encoding')
  return hasNone || status === 304 ? 0 : Number(length)
}

function check(status: number, fields: Map<string, string>, body: string): void {
  if (!STATUSES.has(status) && status !== REDIRECT) throw new Error(`status ${status}`)
  const required = REQUIRED_FIELDS[status]
  if (required !== undefined && !fields.has(required)) throw new Error(`${status} without ${required}`)
  // RFC 9110 section 6.6.1.
  if (status < 500 && !fields.has('date')) throw new Error(`${status} without date`)
  if (status >= 400) checkError(fields, body)
  else learn(fields, body)
}

function checkError(fields: Map<string, string>, body: string): void {
  const type = fields.get('content-type')
  if (type !== 'application/json; charset=utf-8') throw new Error(`an error of type ${type}`)
  if (body === '') return
  const text = body.replace(/\d+/g, '0')
  if (seen.errors.has(text)) return
  const { error, ...others } = JSON.parse(body)
  const isOne = typeof error === 'string' && error !== '' && Object.keys(others).length === 0
  if (!isOne || error !== error.toLowerCase()) throw new Error(`an error that is none: ${body}`)
  if (body.includes(CANARY)) throw new Error(`the request in an error: ${body}`)
  seen.errors.add(text)
}

/**
 * Remembers entity tags and cursors. Checks that only objects and lists contain bytes of clients.
 */
function learn(fields: Map<string, string>, body: string): void {
  const etag = fields.get('etag')
  if (etag !== undefined) remember(known.etags, etag)
  if (body.startsWith('{"buckets":[')) {
    const { next } = JSON.parse(Buffer.from(body, 'latin1').toString())
    if (next !== null) remember(known.cursors, next)
  } else if (fields.get('content-type') !== 'application/octet-stream' && body.includes(CANARY)) {
    throw new Error('the request in a page')
  }
}

function remember(values: string[], value: string): void {
  values.push(value)
  if (values.length > 100) values.shift()
}

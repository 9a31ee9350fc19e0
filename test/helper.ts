import { once } from 'node:events'
import { type IncomingHttpHeaders, type RequestOptions, request } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import type { Test } from 'tap'
import { buildApp } from '../src/app.ts'
import { loadConfig } from '../src/plugins/config.ts'
import { runSync } from './process.ts'

/**
 * Builds an application from environment variables, and closes it after the test. It logs nothing
 * unless `LOG_LEVEL` is set. Its log lines are parsed and added to `lines`.
 */
export function build(t: Test, env: NodeJS.ProcessEnv = {}, lines: Record<string, unknown>[] = []) {
  const stream = { write: (line: string) => void lines.push(JSON.parse(line)) }
  const app = buildApp(loadConfig({ LOG_LEVEL: 'silent', ...env }), stream)
  t.after(() => app.close())
  return app
}

export type App = ReturnType<typeof build>

/** Lets an application listen on a free port of the loopback interface, and returns the port. */
export async function listen(app: App): Promise<number> {
  await app.listen({ host: '127.0.0.1', port: 0 })
  return (app.server.address() as AddressInfo).port
}

export interface Answer {
  statusCode: number
  headers: IncomingHttpHeaders
  body: Buffer
}

/**
 * Sends one request over a real connection, and returns the whole response. The path is sent
 * unchanged.
 */
export async function send(options: RequestOptions, body?: Uint8Array): Promise<Answer> {
  const outgoing = request({ host: '127.0.0.1', agent: false, ...options })
  outgoing.end(body)
  const [response] = await once(outgoing, 'response')
  // A server that has answered need not read the rest of the body.
  outgoing.on('error', () => {})
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk)
  return { statusCode: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) }
}

/**
 * Writes bytes to a connection, and returns all bytes that the server sends until it closes the
 * connection.
 */
export async function exchange(port: number, ...bytes: (string | Uint8Array)[]): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  for (const part of bytes) socket.write(part)
  let answer = ''
  for await (const chunk of socket) answer += chunk.toString('latin1')
  return answer
}

/** The status line and the error of a refusal that was read from a connection. */
export function refusal(answer: string): [string | undefined, string | undefined] {
  const [head = '', body = ''] = answer.split('\r\n\r\n')
  return [head.split('\r\n')[0], body && JSON.parse(body).error]
}

/**
 * The series of a page of `/metrics` and their values, without exemplars:
 * `{'http_requests_in_flight': 0, ...}`.
 */
export function parsePage(page: string): Record<string, number> {
  const lines = page.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return Object.fromEntries(
    lines.map((sample) => {
      const line = sample.replace(/ # \{.*/, '')
      const space = line.lastIndexOf(' ')
      return [line.slice(0, space), Number(line.slice(space + 1))]
    }),
  )
}

/** The series of an application's `/metrics` and their values. */
export async function scrape(app: App): Promise<Record<string, number>> {
  await app.ready()
  return parsePage(await app.registry.metrics())
}

/** The name of the series that counts requests. */
export function requestCount(method: string, path: string, statusCode: number): string {
  return `http_request_duration_seconds_count{method="${method}",path="${path}",status_code="${statusCode}"}`
}

/** The values of the label `reason` of `http_requests_rejected_total`. */
export const REASONS = [
  ...[
    'bad_url',
    'malformed',
    'method',
    'version',
    'host',
    'transfer_coding',
    'http10_transfer_coding',
    'expectation',
  ],
  ...['header_count', 'header_overflow', 'timeout', 'connect'],
]

/** The name of the series that counts the rejections for a reason. */
export const rejectionCount = (reason: string) => `http_requests_rejected_total{reason="${reason}"}`

/**
 * Every method that Node.js's parser accepts. No public list has the methods that are not HTTP's.
 */
export function parserMethods(): string[] {
  const script = "JSON.stringify(require('internal/test/binding').internalBinding('http_parser').allMethods)"
  return JSON.parse(
    runSync(process.execPath, '--no-warnings', '--expose-internals', '--print', script).stdout,
  )
}

/** A condition that takes longer never holds, on any machine. In seconds. */
const HANGING_SECONDS = 60

/** Waits until a condition holds. Checks it every few milliseconds, and fails after a minute. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 1000 * HANGING_SECONDS
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within ${HANGING_SECONDS} seconds: ${condition}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/**
 * Stops `Date.now()` at a whole second during a test. The test sets `now`, in Unix milliseconds. It
 * starts a minute ahead, so that a server with its own clock removes no object before the test
 * expects it.
 */
export function stopClock(t: Test): { now: number } {
  const { now } = Date
  const clock = { now: 1000 * Math.floor(now() / 1000) + 60_000 }
  // `t.intercept` would keep a stack trace of each call.
  Date.now = () => clock.now
  t.after(() => {
    Date.now = now
  })
  return clock
}

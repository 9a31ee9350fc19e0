import { once } from 'node:events'
import { type IncomingHttpHeaders, type RequestOptions, request } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import type { Test } from 'tap'
import { buildApp } from '../src/app.ts'
import { loadConfig } from '../src/plugins/config.ts'
import { runSync } from './process.ts'

/**
 * Builds an application from environment variables, silent unless told otherwise, and closes it after the test.
 * What it logs it adds to `lines`, parsed.
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

/** Sends one request over a real connection, its path as it is given, and returns the whole answer. */
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

/** Writes bytes to a connection as they are, and returns all that comes back until the server closes it. */
export async function exchange(port: number, ...bytes: (string | Uint8Array)[]): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  for (const part of bytes) socket.write(part)
  let answer = ''
  for await (const chunk of socket) answer += chunk.toString('latin1')
  return answer
}

/** The answer to a request that was refused, as the client sees it: its status line, and the error. */
export function refusal(answer: string): [string | undefined, string | undefined] {
  const [head = '', body = ''] = answer.split('\r\n\r\n')
  return [head.split('\r\n')[0], body && JSON.parse(body).error]
}

/** A page of `/metrics` without its exemplars, as series and values: `{'http_requests_in_flight': 0, ...}`. */
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

/** What an application's `/metrics` says. */
export async function scrape(app: App): Promise<Record<string, number>> {
  await app.ready()
  return parsePage(await app.registry.metrics())
}

/** The name of the series that counts requests. */
export function requestCount(method: string, path: string, statusCode: number): string {
  return `http_request_duration_seconds_count{method="${method}",path="${path}",status_code="${statusCode}"}`
}

/** What requests are refused for whatever their path: the `reason` of `http_requests_rejected_total`. */
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

/** The name of the series that counts refusals for a reason. */
export const rejectionCount = (reason: string) => `http_requests_rejected_total{reason="${reason}"}`

/** Every method that Node.js's parser knows: no public list has those that are not HTTP's. */
export function parserMethods(): string[] {
  const script = "JSON.stringify(require('internal/test/binding').internalBinding('http_parser').allMethods)"
  return JSON.parse(
    runSync(process.execPath, '--no-warnings', '--expose-internals', '--print', script).stdout,
  )
}

/** What takes longer hangs, on any machine. In seconds. */
const HANGING_SECONDS = 60

/** Waits until a condition holds, looking again whenever the event loop has gone round; fails when it hangs. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 1000 * HANGING_SECONDS
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within ${HANGING_SECONDS} seconds: ${condition}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/**
 * Stops `Date.now()` for the length of a test, at a whole second: the test sets `now`, in Unix milliseconds. It is a minute
 * ahead, so that a server with a clock of its own ends no life before the test does.
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

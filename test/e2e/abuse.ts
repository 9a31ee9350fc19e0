/** Clients that misbehave. */
import { connect, type Socket } from 'node:net'
import { get, put, type Target } from './clients.ts'

/** A client that is too slow. */
export type SlowClient = (target: Target) => Socket

const BYTE_INTERVAL_MS = 1000

function open(target: Target, ...bytes: string[]): Socket {
  const socket = connect(target).on('error', () => {})
  for (const part of bytes) socket.write(part)
  return socket
}

/** Sends one byte per second until the connection closes. */
function trickle(socket: Socket): Socket {
  const timer = setInterval(() => socket.write('a'), BYTE_INTERVAL_MS)
  socket.once('close', () => clearInterval(timer)).resume()
  return socket
}

export const slowHeaders: SlowClient = (target) =>
  trickle(open(target, 'GET /api/buckets/a HTTP/1.1\r\nHost: a\r\nX-Slow: '))

export const slowBody: SlowClient = (target) => trickle(open(target, put('/api/buckets/slow', 1000)))

/** Requests an object and reads nothing of the response. */
export const slowReader =
  (path: string): SlowClient =>
  (target) =>
    open(target, get(path)).pause()

/** Sends this many bytes of headers, without their end. */
export const unfinishedHead =
  (bytes: number): SlowClient =>
  (target) =>
    open(target, `GET /api/buckets/a HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(bytes)}`).resume()

/** Opens a connection and sends nothing. */
export const idle: SlowClient = (target) => open(target).resume()

/**
 * Opens many connections as fast as the server accepts them. Resolves when each is open or closed
 * again.
 */
export async function openMany(target: Target, client: SlowClient, count: number): Promise<Socket[]> {
  const AT_ONCE = 200
  const sockets: Socket[] = []
  const openSome = async () => {
    while (sockets.length < count) {
      const socket = client(target)
      sockets.push(socket)
      await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve))
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, openSome))
  return sockets
}

const CHUNKED = 'PUT /api/buckets/aborted HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'

/** What a client has sent when it disconnects, by the phase of its request. */
const PHASES: Record<string, (path: string) => string[]> = {
  connected: () => [],
  'in the request line': () => ['GET /api/buck'],
  'in the headers': () => ['PUT /api/buckets/aborted HTTP/1.1\r\nHost: a\r\nContent-Le'],
  'after the headers': () => [put('/api/buckets/aborted', 100_000)],
  'in the body': () => [put('/api/buckets/aborted', 100_000), 'x'.repeat(50_000)],
  'in a chunk': () => [CHUNKED, `${(50_000).toString(16)}\r\n`, 'x'.repeat(40_000)],
  'between chunks': () => [CHUNKED, '5\r\nhello\r\n'],
  'asked for its body': () => [
    `${put('/api/buckets/aborted', 100_000).trimEnd()}\r\nExpect: 100-continue\r\n\r\n`,
  ],
  'before the answer': () => [put('/api/buckets/aborted', 5), 'hello'],
  'before a long answer': (path) => [get(path)],
  'among pipelined requests': (path) => [get(path).repeat(20)],
}
export const PHASE_NAMES = Object.keys(PHASES)

/** How a client disconnects: with FIN or RST, at once or at the first bytes of a response. */
export const MANNERS = ['end', 'reset', 'read and end', 'read and reset'] as const

/**
 * Disconnects during a request. `path` is an object that is too large for the buffers of the
 * connection.
 *
 * @returns when the connection is closed.
 */
export function abort(
  target: Target,
  path: string,
  phase: string,
  manner: (typeof MANNERS)[number],
): Promise<void> {
  return new Promise((resolve) => {
    const socket = open(target, ...(PHASES[phase]?.(path) ?? []))
    const leave = () => {
      if (manner.endsWith('reset')) socket.resetAndDestroy()
      else socket.destroy()
    }
    socket.once('close', () => resolve())
    // If no response is due, it disconnects as soon as everything is sent.
    const isAnswered = /asked|answer|pipelined/.test(phase)
    if (manner.startsWith('read') && isAnswered) socket.once('data', leave)
    else socket.once('connect', () => setImmediate(leave))
  })
}

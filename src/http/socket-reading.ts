import type { Socket } from 'node:net'

/**
 * How long the rest of a request that has its answer is read and thrown away before its connection
 * closes.
 */
export const LINGER_MS = 2000

const ignore = () => {}

/**
 * Closes a connection on which a request may still be arriving, but lets the client read the answer
 * first. If a connection is closed with unread bytes, it is reset and the answer is lost (RFC 9112
 * section 9.6).
 */
export function lingeringClose(socket: Socket): void {
  socket.end()
  startReading(socket)
  // Bytes that still arrive are thrown away before the parser sees them and acts on them.
  socket.on('data', ignore).removeAllListeners('data').on('data', ignore).resume()
  const linger = setTimeout(() => socket.destroy(), LINGER_MS)
  socket.once('close', () => clearTimeout(linger))
}

/**
 * Pauses a socket until {@link startReading}. `pause` alone is not enough: Node.js's parser takes
 * the bytes past the stream until there is a listener for data, and it resumes the stream at the
 * end of every request that it has parsed.
 *
 * A socket that Node.js has paused until an answer has drained is left alone. Taking the parser off
 * its stream would keep Node.js from resuming it.
 */
export function stopReading(socket: Socket): void {
  if (Object.hasOwn(socket, 'resume') || socket.isPaused()) return
  if (socket.listenerCount('data', ignore) === 0) socket.once('data', ignore)
  socket.pause()
  socket.resume = () => socket
}

/** Undoes {@link stopReading}. */
export function startReading(socket: Socket): void {
  if (!Object.hasOwn(socket, 'resume')) return
  Reflect.deleteProperty(socket, 'resume')
  socket.resume()
  // Node.js pauses a connection while answers to pipelined requests have not drained. If
  // `stopReading` came just before it continued, the stream waits for bytes that nobody reads.
  socket._read(0)
}

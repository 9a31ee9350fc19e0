import type { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import type { FastifyPluginAsync, FastifyReply } from 'fastify'
import fp from 'fastify-plugin'

/** Status code of a request whose client went away before its answer, as nginx coined it. */
const CLIENT_CLOSED_REQUEST = 499

/** How long the rest of a request that has its answer is read and thrown away before its connection closes. */
export const LINGER_MS = 2000

/** The most pipelined requests that may wait in all, at 3 kB each: one more, and its connection is closed. */
export const MAX_WAITING = 10_000

/** Told of a request that ended without `onResponse`, and the status code it counts as. */
type AbortListener = (reply: FastifyReply, statusCode: number) => void

/** What there is to know of a request while it waits for its turn. */
type WaitingRequest = Pick<IncomingMessage, 'method' | 'complete'>

interface Connection {
  current: FastifyReply | undefined
  /** The request that has begun last: it may have its answer while its body is still arriving. */
  last: IncomingMessage | undefined
  /** What waits for the current request to end, in order: pipelined requests, and perhaps a refusal. */
  waiting: { start: () => void; request: WaitingRequest | undefined }[]
  /** After an answer with `Connection: close`: nothing more is acted on (RFC 9112 section 9.6). */
  closing: boolean
}

/**
 * Closes a connection on which a request may still be arriving, but lets the client read the answer first: a
 * connection that is closed with bytes unread is reset, and the answer lost (RFC 9112 section 9.6).
 */
function lingeringClose(socket: Socket): void {
  socket.end()
  startReading(socket)
  // What still comes is thrown away before the parser sees it, which would act on it.
  socket.on('data', ignore).removeAllListeners('data').on('data', ignore).resume()
  const linger = setTimeout(() => socket.destroy(), LINGER_MS)
  socket.once('close', () => clearTimeout(linger))
}

const ignore = () => {}

/**
 * Pauses a socket for good. Node.js's parser takes the bytes past the stream until there is a listener for data,
 * and resumes the stream at the end of every request that it has parsed.
 *
 * Where Node.js has paused it by itself, until an answer has drained, it is left alone: what has taken the parser off the
 * stream meanwhile would be in the way of its resuming.
 */
function stopReading(socket: Socket): void {
  if (Object.hasOwn(socket, 'resume') || socket.isPaused()) return
  if (socket.listenerCount('data', ignore) === 0) socket.once('data', ignore)
  socket.pause()
  socket.resume = () => socket
}

function startReading(socket: Socket): void {
  if (!Object.hasOwn(socket, 'resume')) return
  Reflect.deleteProperty(socket, 'resume')
  socket.resume()
}

/** A refusal is one, whether its client has waited for it or not. */
function statusWithoutClient(reply: FastifyReply | undefined): number {
  return reply?.raw.headersSent && reply.statusCode >= 400 ? reply.statusCode : CLIENT_CLOSED_REQUEST
}

/** Why the server closes a connection that its client would keep: the label of `http_connections_closed_total`. */
export type CloseReason = 'limit' | 'idle' | 'timeout'

/** @param maxConnections the most that may be open; `onLimit` is told of each connection that is closed to keep to a limit. */
function createConnections(maxConnections: number, onLimit: (socket: Socket, limit: string) => void) {
  let waiting = 0
  const connections = new WeakMap<Socket, Connection>()
  /** Accepted connections on which no request is under way, in the order in which that began, and all others. */
  const idle = new Set<Socket>()
  const busy = new Set<Socket>()
  const closed: Record<CloseReason, number> = { limit: 0, idle: 0, timeout: 0 }
  const listeners: AbortListener[] = []

  /** Closes a connection at once. */
  function cut(socket: Socket, reason: CloseReason): void {
    closed[reason]++
    socket.destroy()
    idle.delete(socket)
    busy.delete(socket)
  }

  function cutAtLimit(socket: Socket, limit: string): void {
    onLimit(socket, limit)
    cut(socket, 'limit')
  }

  /** From now on no request is under way. */
  function rest(socket: Socket): void {
    if (busy.delete(socket)) idle.add(socket)
  }

  function open(socket: Socket): Connection {
    const connection: Connection = { current: undefined, last: undefined, waiting: [], closing: false }
    connections.set(socket, connection)
    // What Node.js calls after an answer with `Connection: close`.
    socket.destroySoon = () => {
      connection.closing = true
      forget(connection)
      if (connection.current?.request.raw.complete === false) lingeringClose(socket)
      else Socket.prototype.destroySoon.call(socket)
    }
    socket.once('close', () => {
      abort(socket, statusWithoutClient(connection.current))
      forget(connection)
      connections.delete(socket)
    })
    return connection
  }

  /** The replies that are under way, at most one a connection. */
  function replies(): FastifyReply[] {
    return [...busy].flatMap((socket) => connections.get(socket)?.current ?? [])
  }

  function abort(socket: Socket, statusCode: number): void {
    const connection = connections.get(socket)
    if (connection?.current === undefined) return
    for (const listener of listeners) listener(connection.current, statusCode)
    connection.current = undefined
    rest(socket)
    forget(connection)
    startReading(socket)
  }

  /** Drops the requests that wait. */
  function forget(connection: Connection): void {
    waiting -= connection.waiting.length
    connection.waiting = []
  }

  /** Runs `start` when the requests that came before on this connection have ended: at once, if there are none. */
  function whenIdle(socket: Socket, start: () => void, request?: WaitingRequest): void {
    const connection = connections.get(socket)
    if (connection?.closing) return
    if (connection?.current === undefined && !connection?.waiting.length) {
      start()
    } else if (waiting === MAX_WAITING) {
      cutAtLimit(socket, 'too many requests wait')
    } else {
      waiting++
      // What has been read already waits; no more is read, so that waiting requests stay bounded.
      stopReading(socket)
      connection.waiting.push({ start, request })
    }
  }

  /** Begins what waits next, or finds that it has been dropped. */
  function startNext(socket: Socket, connection: Connection): void {
    const next = connection.waiting.shift()
    if (next === undefined) return void rest(socket)
    waiting--
    if (connection.waiting.length === 0) startReading(socket)
    next.start()
  }

  return {
    /**
     * Takes note of a connection that the server has accepted. Where there are too many, the one that has gone longest without
     * a request under way is closed for it; if there is none, the new one is closed.
     */
    accept(socket: Socket): void {
      idle.add(socket)
      socket.once('close', () => {
        idle.delete(socket)
        busy.delete(socket)
      })
      if (idle.size + busy.size <= maxConnections) return
      const [oldest = socket] = idle
      cutAtLimit(oldest, 'too many are open')
    },

    /** Destroys the accepted connections on which no request is under way. */
    destroyIdle(): void {
      for (const socket of idle) socket.destroy()
    },

    cut,

    /** Closes a connection to keep to a limit, which is logged. */
    cutAtLimit,

    /** How many connections were closed for each reason. */
    closed,

    /** How many connections are open. */
    get open(): number {
      return idle.size + busy.size
    },

    whenIdle,
    replies,

    /**
     * Says that what is being read of a connection's last request will never be complete. If that one still waits for its
     * turn, it will not begin; if it has begun it is {@link abort}ed by the caller.
     *
     * @returns the request that will not begin.
     */
    dropIncomplete(socket: Socket): WaitingRequest | undefined {
      const connection = connections.get(socket)
      const request = connection?.waiting.at(-1)?.request
      if (request?.complete !== false) return undefined
      connection?.waiting.pop()
      waiting--
      return request
    },

    /** Begins a request: `start` runs when it is the connection's turn. */
    enter(socket: Socket, reply: FastifyReply, start: () => void): void {
      const begin = () => {
        const connection = connections.get(socket) ?? open(socket)
        if (idle.delete(socket)) busy.add(socket)
        connection.current = reply
        connection.last = reply.request.raw
        start()
      }
      whenIdle(socket, begin, reply.request.raw)
    },

    /** Ends the connection's current request, and lets the next one begin. */
    leave(socket: Socket): void {
      const connection = connections.get(socket)
      if (connection === undefined) return
      connection.current = undefined
      if (connection.waiting.length === 0) rest(socket)
      // Not before everybody else's turn: a client that pipelines would keep the event loop to itself.
      else setImmediate(() => startNext(socket, connection))
    },

    /** Ends the connection's current request as one that the application does not answer. */
    abort,

    /** Whether a request has its answer, although it is not complete. */
    isAnsweredEarly(socket: Socket): boolean {
      const connection = connections.get(socket)
      return connection?.current === undefined && connection?.last?.complete === false
    },

    /** Closes a connection when the client has had the time to read what was written to it. Nothing more is acted on. */
    close(socket: Socket): void {
      const connection = connections.get(socket) ?? open(socket)
      connection.closing = true
      forget(connection)
      lingeringClose(socket)
    },

    /** Calls `listener` for every request that ends without `onResponse`. */
    onAbort(listener: AbortListener): void {
      listeners.push(listener)
    },

    /** The reply that is under way on a connection. */
    current(socket: Socket): FastifyReply | undefined {
      return connections.get(socket)?.current
    },
  }
}

declare module 'fastify' {
  interface FastifyInstance {
    connections: ReturnType<typeof createConnections>
  }
}

const plugin: FastifyPluginAsync = async (app) => {
  const { MAX_CONNECTIONS: maxConnections } = app.config
  const onLimit = (socket: Socket, limit: string) =>
    app.refusalLog.note(`connection closed: ${limit}`, socket, { reason: 'limit', maxConnections })
  const connections = createConnections(maxConnections, onLimit)
  app.decorate('connections', connections)
  app.server.on('connection', (socket: Socket) => connections.accept(socket))
  // Instead of Node.js, which would close the connection and count nothing.
  app.server.on('timeout', (socket: Socket) => {
    connections.cut(socket, connections.current(socket) === undefined ? 'idle' : 'timeout')
  })
  app.addHook('onRequest', (request, reply, done) => {
    // Nobody here upgrades; the parser loses what came with such a request, and takes up again in the middle.
    if (request.raw.headers.upgrade !== undefined) reply.raw.setHeader('connection', 'close')
    connections.enter(request.raw.socket, reply, done)
  })
  app.addHook('onResponse', (request, _reply, done) => {
    connections.leave(request.raw.socket)
    done()
  })
}

/**
 * Knows the request that is under way on each connection: Node.js serves pipelined requests side by side, and
 * Fastify tells nobody of one whose client goes away. Closes connections that are too many or too slow. Decorates the
 * application with `connections`.
 */
export default fp(plugin, { name: 'connections', dependencies: ['config', 'errors'] })

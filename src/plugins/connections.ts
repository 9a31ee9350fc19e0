import type { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import type { FastifyPluginAsync, FastifyReply } from 'fastify'
import fp from 'fastify-plugin'
import { OpenSockets } from '../http/open-sockets.ts'
import { lingeringClose, startReading, stopReading } from '../http/socket-reading.ts'

/**
 * The status code of a request whose client closed the connection before the answer, as in nginx.
 */
const CLIENT_CLOSED_REQUEST = 499

/**
 * The maximum number of pipelined requests that wait, over all connections, at 3 kB each. One more
 * closes its connection.
 */
export const MAX_WAITING = 10_000

/** How often the timeout of requests that take long is set, in milliseconds. */
const LOOK_INTERVAL_MS = 1000

/** Called for a request that ends without `onResponse`, with the status code to count. */
type AbortListener = (reply: FastifyReply, statusCode: number) => void

/** What is known of a request while it waits for its turn. */
type WaitingRequest = Pick<IncomingMessage, 'method' | 'complete'>

interface Connection {
  current: FastifyReply | undefined
  /** The request that began last. It may have its answer while its body is still arriving. */
  last: IncomingMessage | undefined
  /**
   * What waits for the current request to end, in order: pipelined requests, and perhaps a refusal.
   */
  waiting: { start: () => void; request: WaitingRequest | undefined }[]
  /** After an answer with `Connection: close`: nothing more is acted on (RFC 9112 section 9.6). */
  closing: boolean
}

/** A refusal that has been sent counts as that refusal, even if the client did not wait for it. */
function statusWithoutClient(reply: FastifyReply | undefined): number {
  return reply?.raw.headersSent && reply.statusCode >= 400 ? reply.statusCode : CLIENT_CLOSED_REQUEST
}

/** The requests of each connection, one after the other. */
function createConnections(sockets: OpenSockets) {
  let waiting = 0
  /** The connections whose next waiting request may begin, in order. */
  const ready: Socket[] = []
  const connections = new WeakMap<Socket, Connection>()
  const listeners: AbortListener[] = []

  function open(socket: Socket): Connection {
    const connection: Connection = { current: undefined, last: undefined, waiting: [], closing: false }
    connections.set(socket, connection)
    // Node.js calls this after an answer with `Connection: close`.
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

  /** The current reply of each connection that has one. */
  function replies(): FastifyReply[] {
    return [...sockets.busy].flatMap((socket) => connections.get(socket)?.current ?? [])
  }

  function abort(socket: Socket, statusCode: number): void {
    const connection = connections.get(socket)
    if (connection?.current === undefined) return
    for (const listener of listeners) listener(connection.current, statusCode)
    connection.current = undefined
    sockets.rest(socket)
    forget(connection)
    startReading(socket)
  }

  /** Drops the requests that wait. */
  function forget(connection: Connection): void {
    waiting -= connection.waiting.length
    connection.waiting = []
  }

  /**
   * Calls `start` when the earlier requests of this connection have ended: at once, if there are
   * none.
   */
  function whenIdle(socket: Socket, start: () => void, request?: WaitingRequest): void {
    const connection = connections.get(socket)
    if (connection?.closing) return
    if (connection?.current === undefined && !connection?.waiting.length) {
      start()
    } else if (waiting === MAX_WAITING) {
      // The parser reads the rest of the packet even after the connection has been closed.
      if (!socket.destroyed) sockets.cutAtLimit(socket, 'too many requests wait')
    } else {
      waiting++
      // Requests that have been read already wait. No more are read, so that their number is
      // bounded.
      stopReading(socket)
      connection.waiting.push({ start, request })
    }
  }

  /**
   * Begins one waiting request, unless it has been dropped. The other connections follow, one in
   * each turn of the event loop.
   */
  function startNext(): void {
    const socket = ready[0] as Socket
    const connection = connections.get(socket)
    const next = connection?.waiting.shift()
    if (next === undefined) {
      sockets.rest(socket)
    } else {
      waiting--
      if (connection?.waiting.length === 0) startReading(socket)
      next.start()
    }
    ready.shift()
    if (ready.length > 0) setImmediate(startNext)
  }

  return {
    whenIdle,
    replies,

    /**
     * To be called when the request that is being read will never be complete. If it still waits
     * for its turn, it is dropped. If it has begun, the caller {@link abort}s it.
     *
     * @returns the request that was dropped.
     */
    dropIncomplete(socket: Socket): WaitingRequest | undefined {
      const connection = connections.get(socket)
      const request = connection?.waiting.at(-1)?.request
      if (request?.complete !== false) return undefined
      connection?.waiting.pop()
      waiting--
      return request
    },

    /** Begins a request: `start` is called when it is the request's turn. */
    enter(socket: Socket, reply: FastifyReply, start: () => void): void {
      const begin = () => {
        const connection = connections.get(socket) ?? open(socket)
        sockets.work(socket)
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
      if (connection.waiting.length === 0) sockets.rest(socket)
      // libuv accepts one connection in each turn of the event loop. Turns must be short, so a turn
      // begins only one of the requests that wait. Otherwise new clients would starve.
      else if (ready.push(socket) === 1) setImmediate(startNext)
    },

    /** Ends the connection's current request, which the application does not answer. */
    abort,

    /** Whether the last request has its answer, although the request is not complete. */
    isAnsweredEarly(socket: Socket): boolean {
      const connection = connections.get(socket)
      return connection?.current === undefined && connection?.last?.complete === false
    },

    /**
     * Closes a connection after the client has had time to read the answer. Nothing more is acted
     * on.
     */
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

    /** The connection's current reply. */
    current(socket: Socket): FastifyReply | undefined {
      return connections.get(socket)?.current
    },
  }
}

declare module 'fastify' {
  interface FastifyInstance {
    sockets: OpenSockets
    connections: ReturnType<typeof createConnections>
  }
}

const plugin: FastifyPluginAsync = async (app) => {
  const { MAX_CONNECTIONS: maxConnections, STALL_TIMEOUT_SECONDS } = app.config
  const sockets = new OpenSockets(maxConnections, (socket, limit) =>
    app.refusalLog.note(`connection closed: ${limit}`, socket, { reason: 'limit', maxConnections }),
  )
  const connections = createConnections(sockets)
  app.decorate('sockets', sockets)
  app.decorate('connections', connections)
  app.server.on('connection', (socket: Socket) => sockets.accept(socket))
  // Without a listener Node.js would close the connection, and nothing would count it.
  app.server.on('timeout', (socket: Socket) => {
    sockets.cut(socket, connections.current(socket) === undefined ? 'idle' : 'timeout')
  })
  const timer = setInterval(() => sockets.limitStalls(STALL_TIMEOUT_SECONDS * 1000), LOOK_INTERVAL_MS).unref()
  app.addHook('onClose', async () => clearInterval(timer))
  app.addHook('onRequest', (request, reply, done) => {
    // No route upgrades. The parser loses the body of such a request, and then reads on in the
    // middle.
    if (request.raw.headers.upgrade !== undefined) reply.raw.setHeader('connection', 'close')
    connections.enter(request.raw.socket, reply, done)
  })
  app.addHook('onResponse', ({ raw: { socket } }, _reply, done) => {
    // Node.js 22 emits `finish` even if the connection failed before the response was sent. Without
    // `done` no other hook counts the request, which is reported when the connection closes.
    if (socket.destroyed || socket.errored) return
    connections.leave(socket)
    done()
  })
}

/**
 * Lets the requests of a connection begin one after the other, because Node.js serves pipelined
 * requests side by side. Reports requests whose client goes away, because Fastify does not. Closes
 * connections that are too many or too slow. Decorates the application with `sockets`, the open
 * connections, and `connections`, the requests on them.
 */
export default fp(plugin, { name: 'connections', dependencies: ['config', 'errors'] })

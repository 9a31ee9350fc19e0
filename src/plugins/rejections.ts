import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { Counter } from '@prometheus-io/client'
import type { FastifyError, FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'

/** The maximum size of the request line and the headers, in bytes. */
export const MAX_HEADER_BYTES = 16 * 1024

/** The maximum number of header lines of a request. */
export const MAX_HEADERS = 100

/**
 * The reasons to reject a request on every path, and the responses. The key is the label `reason`.
 */
export const REJECTIONS = {
  bad_url: { statusCode: 400, error: 'path must be percent-encoded utf-8' },
  malformed: { statusCode: 400, error: 'malformed request' },
  method: { statusCode: 501, error: 'method is not implemented' },
  version: { statusCode: 505, error: 'http version must be 1.1 or 1.0' },
  host: { statusCode: 400, error: 'there must be one host header, and a valid one' },
  transfer_coding: { statusCode: 501, error: 'transfer-encoding must be chunked or absent' },
  http10_transfer_coding: { statusCode: 400, error: 'transfer-encoding is not part of http/1.0' },
  expectation: { statusCode: 417, error: 'expect must be 100-continue or absent' },
  header_count: { statusCode: 431, error: `too many headers: at most ${MAX_HEADERS}` },
  header_overflow: {
    statusCode: 431,
    error: `request line and headers too large: at most ${MAX_HEADER_BYTES} bytes`,
  },
  timeout: { statusCode: 408, error: 'request not received in time' },
  connect: { statusCode: 501, error: 'connect is not supported' },
}

/** The client has reset its connection, or ended it before the end of a request. */
const CLIENT_GONE_CODES = new Set<string | undefined>(['ECONNRESET', 'HPE_INVALID_EOF_STATE'])

export type Reason = keyof typeof REJECTIONS

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Refuses a request that no route sees, after the earlier requests on its connection have been
     * answered. Counts and logs the refusal, and closes the connection.
     *
     * @param request Its method decides whether the response has a body. An incomplete request may
     * become malformed later.
     */
    refuse: (socket: Socket, reason: Reason, request?: Pick<IncomingMessage, 'method' | 'complete'>) => void
    /**
     * Refuses the rest of a request that a route is handling. It counts as a request of that route.
     */
    refuseRest: (reply: FastifyReply, reason: Reason) => void
  }
}

/** Fastify's `frameworkErrors`: the router refused the URL. */
export function answerBadUrl(
  _error: FastifyError,
  { server, raw }: FastifyRequest,
  reply: FastifyReply,
): void {
  reply.hijack()
  server.refuse(raw.socket, 'bad_url', raw)
}

/**
 * Fastify's `clientErrorHandler`: the parser refused what it read, or it did not arrive in time.
 */
export function answerClientError(this: FastifyInstance, error: ClientError, socket: Socket): void {
  // The client is gone, or has its answer.
  if (CLIENT_GONE_CODES.has(error.code) || !socket.writable) return void socket.destroy()
  // A connection opened in advance that was never used.
  if (socket.bytesRead === 0) return void this.sockets.cut(socket, 'idle')
  const reason = reasonOf(error)
  if (reason === 'timeout') this.sockets.closed.timeout++
  const reply = this.connections.current(socket)
  if (this.connections.isAnsweredEarly(socket)) {
    this.connections.close(socket)
  } else if (reply === undefined || reply.request.raw.complete) {
    const dropped = this.connections.dropIncomplete(socket)
    this.refuse(socket, reason, dropped ?? { method: methodOf(error), complete: true })
  } else if (reply.raw.headersSent) {
    socket.destroy()
  } else {
    this.refuseRest(reply, reason)
  }
}

/**
 * An error of the parser, with the last packet and the number of bytes that it has parsed of this
 * packet.
 */
interface ClientError extends NodeJS.ErrnoException {
  rawPacket?: unknown
  bytesParsed?: number
}

/** The method of a request whose head the parser refuses, if the head begins in the last packet. */
function methodOf({ rawPacket, bytesParsed }: ClientError): string | undefined {
  if (!Buffer.isBuffer(rawPacket)) return undefined
  const begun = rawPacket.subarray(0, bytesParsed).lastIndexOf('\r\n\r\n') + 1
  return /^\s*(\S+) /.exec(rawPacket.toString('latin1', begun, begun + 32))?.[1]
}

function reasonOf({ code }: NodeJS.ErrnoException): Reason {
  if (code === 'HPE_HEADER_OVERFLOW') return 'header_overflow'
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return 'timeout'
  return 'malformed'
}

const plugin: FastifyPluginAsync = async (app) => {
  const counter = new Counter({
    name: 'http_requests_rejected_total',
    help: 'HTTP requests rejected before routing because they are not valid HTTP/1.1 or too slow, by reason',
    labelNames: ['reason'],
    registers: [app.registry],
  })
  for (const reason of Object.keys(REJECTIONS)) counter.inc({ reason }, 0)

  /** Answers on the bare socket, and closes it. */
  function answer(socket: Socket, reason: Reason, method: string | undefined): void {
    const { statusCode, error } = REJECTIONS[reason]
    const body = JSON.stringify({ error })
    socket.write(
      `HTTP/1.1 ${statusCode} ${STATUS_CODES[statusCode]}\r\n` +
        `date: ${new Date().toUTCString()}\r\n` +
        'content-type: application/json; charset=utf-8\r\n' +
        `content-length: ${body.length}\r\n` +
        'connection: close\r\n' +
        `\r\n${method === 'HEAD' ? '' : body}`,
    )
    app.refusalLog.note(error, socket, { reason, statusCode })
    app.connections.close(socket)
  }

  app.decorate('refuse', (socket, reason, request) => {
    const start = () => {
      counter.inc({ reason })
      answer(socket, reason, request?.method)
    }
    app.connections.whenIdle(socket, start, request)
  })
  app.decorate('refuseRest', ({ request: { raw } }, reason) => {
    app.connections.abort(raw.socket, REJECTIONS[reason].statusCode)
    answer(raw.socket, reason, raw.method)
  })

  // Without a listener Node.js would close the connection, and nothing would count it.
  app.server.on('connect', (_request: IncomingMessage, socket: Socket) => {
    socket.on('error', () => socket.destroy())
    app.refuse(socket, 'connect')
  })
}

/**
 * Answers requests that reach no route, counts them (`http_requests_rejected_total`), and logs
 * their senders.
 */
export default fp(plugin, { name: 'rejections', dependencies: ['connections', 'errors', 'metrics'] })

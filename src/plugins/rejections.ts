import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { Counter } from '@prometheus-io/client'
import type { FastifyError, FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { hostMissing } from '../errors.ts'

/** The most that a request line and its headers may take, in bytes. */
export const MAX_HEADER_BYTES = 16 * 1024

/** How long the rest of a refused request is read and thrown away, so that the client gets to read the answer. */
const LINGER_MS = 1000

/** What is refused before any hook runs, and the answer to it. */
const REJECTIONS = {
  bad_url: { statusCode: 400, error: 'path must be percent-encoded utf-8' },
  malformed: { statusCode: 400, error: 'malformed request' },
  header_overflow: {
    statusCode: 431,
    error: `request line and headers too large: at most ${MAX_HEADER_BYTES} bytes`,
  },
  timeout: { statusCode: 408, error: 'request not received in time' },
  expectation: { statusCode: 417, error: 'expect must be 100-continue or absent' },
  connect: { statusCode: 501, error: 'connect is not supported' },
}
type Reason = keyof typeof REJECTIONS

declare module 'fastify' {
  interface FastifyInstance {
    /** Counts a request that no hook has seen. */
    countRejection: (reason: Reason) => void
  }
}

/** Fastify's `frameworkErrors`: the router refused the URL. */
export function answerBadUrl(_error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const { statusCode, error } = REJECTIONS.bad_url
  request.server.countRejection('bad_url')
  reply.code(statusCode).send({ error })
}

/** Fastify's `clientErrorHandler`: the parser refused what it read, or it did not arrive in time. */
export function answerClientError(this: FastifyInstance, error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET') return void socket.destroy()
  if (!socket.writable) return // Answered already: this is the rest of a refused request.
  const reason = reasonOf(error)
  const reply = this.connections.current(socket)
  if (reply === undefined || reply.request.raw.complete) {
    this.connections.whenIdle(socket, () => {
      this.countRejection(reason)
      refuse(socket, reason)
    })
  } else if (reply.raw.headersSent) {
    socket.destroy()
  } else {
    this.connections.abort(socket, REJECTIONS[reason].statusCode)
    refuse(socket, reason)
  }
}

function reasonOf({ code }: NodeJS.ErrnoException): Reason {
  if (code === 'HPE_HEADER_OVERFLOW') return 'header_overflow'
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return 'timeout'
  return 'malformed'
}

/** Answers on the bare socket, and closes it. */
function refuse(socket: Socket, reason: Reason): void {
  const { statusCode, error } = REJECTIONS[reason]
  const body = JSON.stringify({ error })
  socket.end(
    `HTTP/1.1 ${statusCode} ${STATUS_CODES[statusCode]}\r\nConnection: close\r\n` +
      `Content-Type: application/json; charset=utf-8\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  )
  const linger = setTimeout(() => socket.destroy(), LINGER_MS)
  socket.once('close', () => clearTimeout(linger))
  socket.resume()
}

const plugin: FastifyPluginAsync = async (app) => {
  const counter = new Counter({
    name: 'http_requests_rejected_total',
    help: 'HTTP requests that the parser or the router refused, so that no route saw them',
    labelNames: ['reason'],
    registers: [app.registry],
  })
  for (const reason of Object.keys(REJECTIONS)) counter.inc({ reason }, 0)
  const countRejection = (reason: Reason) => counter.inc({ reason })
  app.decorate('countRejection', countRejection)

  app.addHook('onRequest', ({ raw }, _reply, done) => {
    if (raw.headers.host === undefined && raw.httpVersion !== '1.0') throw hostMissing()
    done()
  })

  // Without listeners Node.js answers the one by itself and drops the other, and neither is counted.
  app.server.on('checkExpectation', (_request: IncomingMessage, response: ServerResponse) => {
    const { statusCode, error } = REJECTIONS.expectation
    countRejection('expectation')
    response.writeHead(statusCode, { 'content-type': 'application/json; charset=utf-8' })
    response.end(JSON.stringify({ error }))
  })
  app.server.on('connect', (_request: IncomingMessage, socket: Socket) => {
    countRejection('connect')
    socket.on('error', () => socket.destroy())
    refuse(socket, 'connect')
  })
}

/** Answers what never reaches a route, and counts it: `http_requests_rejected_total`. */
export default fp(plugin, { name: 'rejections', dependencies: ['connections', 'metrics'] })

import { type IncomingMessage, METHODS, type RequestListener } from 'node:http'
import type { FastifyPluginAsync, FastifyReply } from 'fastify'
import fp from 'fastify-plugin'
import { MAX_HEADERS, type Reason } from './rejections.ts'

/** A host and perhaps a port, or nothing (RFC 9110 section 7.2, RFC 3986 section 3.2). */
const HOST = /^(?:\[[\w.:~!$&'()*+,;=-]+\]|[\w.~!$&'()*+,;=%-]*)(?::\d*)?$/

/** The target `*` (RFC 9112 section 3.2.4) to the router, which takes it for `/`. No client can send a target with a space. */
export const ASTERISK = '/ *'

/** What this server takes for HTTP; Node.js's parser knows RTSP's methods besides. */
const HTTP_METHODS = new Set<string | undefined>(METHODS)

function countHosts(rawHeaders: string[]): number {
  let hosts = 0
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    if (name.length === 4 && name.toLowerCase() === 'host') hosts++
  }
  return hosts
}

/** Why a request is refused that the parser lets pass and RFC 9112 does not. */
function reasonToReject(request: IncomingMessage): Reason | undefined {
  const { method, httpVersion, headers, rawHeaders } = request
  if (!HTTP_METHODS.has(method)) return 'method'
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return 'version'
  if (rawHeaders.length > 2 * MAX_HEADERS) return 'header_count'
  const hosts = countHosts(rawHeaders)
  if (hosts > 1 || (hosts === 0 && httpVersion === '1.1') || !HOST.test(headers.host ?? '')) return 'host'
  const coding = headers['transfer-encoding']
  if (coding !== undefined) {
    if (httpVersion === '1.0') return 'http10_transfer_coding'
    if (coding.toLowerCase() !== 'chunked') return 'transfer_coding'
  }
  return expectations(request).some((name) => name !== '100-continue') ? 'expectation' : undefined
}

/**
 * What the client expects, in lower case: a list, which may be empty (RFC 9110 sections 10.1.1 and 5.6.1.2). HTTP/1.0 knows no
 * expectations: they are ignored.
 */
function expectations({ httpVersion, headers: { expect } }: IncomingMessage): string[] {
  if (!expect || httpVersion !== '1.1') return []
  const names = expect.split(',').map((name) => name.trim().toLowerCase())
  return names.filter((name) => name !== '')
}

const isExpecting = (request: IncomingMessage) => expectations(request).length > 0

declare module 'fastify' {
  interface FastifyReply {
    /** Asks for the request's body, if the client waits to be asked: `100 Continue`. */
    askForBody: () => void
  }
}

const plugin: FastifyPluginAsync = async (app) => {
  // Beyond a number Node.js would drop headers without a word, a second Host among them.
  app.server.maxHeadersCount = 0

  // Without listeners Node.js would answer by itself, 100 before it is known whether the body is wanted, and 417.
  const asAnyOther: RequestListener = (request, response) =>
    void app.server.emit('request', request, response)
  app.server.on('checkContinue', asAnyOther).on('checkExpectation', asAnyOther)

  // Ahead of Fastify: its router answers a method that it does not know past every hook, and logs all routes.
  const [serve] = app.server.listeners('request') as [RequestListener]
  app.server.off('request', serve).on('request', (request, response) => {
    const reason = reasonToReject(request)
    if (reason !== undefined) return app.refuse(request.socket, reason, request)
    if (request.url === '*') request.url = ASTERISK
    serve(request, response)
  })

  // Whether the client sends the body that it was not asked for, nobody can tell.
  app.addHook('onRequest', ({ raw }, reply, done) => {
    if (isExpecting(raw)) reply.raw.setHeader('connection', 'close')
    done()
  })
  app.decorateReply('askForBody', function (this: FastifyReply) {
    const { raw } = this.request
    if (!isExpecting(raw)) return
    if (!app.lifecycle.draining && raw.headers.upgrade === undefined) this.raw.removeHeader('connection')
    this.raw.writeContinue()
  })
}

/**
 * Refuses what RFC 9112 has a server refuse although Node.js's parser lets it pass, and answers
 * `Expect: 100-continue` when it is known that the body is wanted. Decorates replies with `askForBody`.
 */
export default fp(plugin, { name: 'protocol', dependencies: ['lifecycle', 'rejections'] })

import { type IncomingMessage, METHODS, type RequestListener } from 'node:http'
import type { FastifyPluginAsync, FastifyReply } from 'fastify'
import fp from 'fastify-plugin'
import { MAX_HEADERS, type Reason } from './rejections.ts'

/** A host and perhaps a port, or nothing (RFC 9110 section 7.2, RFC 3986 section 3.2). */
const HOST = /^(?:\[[\w.:~!$&'()*+,;=-]+\]|[\w.~!$&'()*+,;=%-]*)(?::\d*)?$/

/**
 * Replaces the target `*` (RFC 9112 section 3.2.4), which the router would treat as `/`. No client
 * can send a target with a space.
 */
export const ASTERISK = '/ *'

/** The methods of HTTP. Node.js's parser also accepts the methods of RTSP. */
const HTTP_METHODS = new Set<string | undefined>(METHODS)

function countHosts(rawHeaders: string[]): number {
  let hosts = 0
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    if (name.length === 4 && name.toLowerCase() === 'host') hosts++
  }
  return hosts
}

/** Why RFC 9112 requires or allows a server to refuse a request that Node.js's parser accepts. */
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
 * The list in `Expect`, in lower case. It may be empty (RFC 9110 sections 10.1.1 and 5.6.1.2).
 * HTTP/1.0 has no expectations, so they are ignored there.
 */
function expectations({ httpVersion, headers: { expect } }: IncomingMessage): string[] {
  if (!expect || httpVersion !== '1.1') return []
  const names = expect.split(',').map((name) => name.trim().toLowerCase())
  return names.filter((name) => name !== '')
}

const isExpecting = (request: IncomingMessage) => expectations(request).length > 0

declare module 'fastify' {
  interface FastifyReply {
    /** Sends `100 Continue` if the client waits for it before it sends the request body. */
    askForBody: () => void
  }
}

const plugin: FastifyPluginAsync = async (app) => {
  // By default Node.js drops the headers above a number silently, even a second Host.
  app.server.maxHeadersCount = 0

  // Without listeners Node.js would answer 417 by itself, and 100 before the route decides whether
  // to read the body. Without `100 Continue` the server cannot know whether the client sends the
  // body.
  const expect: RequestListener = (request, response) => {
    if (isExpecting(request)) response.setHeader('connection', 'close')
    app.server.emit('request', request, response)
  }
  app.server.on('checkContinue', expect).on('checkExpectation', expect)

  // This runs before Fastify. For an unknown method Fastify's router would answer without any hook,
  // and log all routes.
  const [serve] = app.server.listeners('request') as [RequestListener]
  app.server.off('request', serve).on('request', (request, response) => {
    const reason = reasonToReject(request)
    if (reason !== undefined) return app.refuse(request.socket, reason, request)
    if (request.url === '*') request.url = ASTERISK
    serve(request, response)
  })

  app.decorateReply('askForBody', function (this: FastifyReply) {
    const { raw } = this.request
    if (!isExpecting(raw)) return
    if (!app.lifecycle.draining && raw.headers.upgrade === undefined) this.raw.removeHeader('connection')
    this.raw.writeContinue()
  })
}

/**
 * Refuses requests that Node.js's parser accepts although they violate RFC 9112. Answers `Expect:
 * 100-continue` when the route is ready to read the body. Decorates replies with `askForBody`.
 */
export default fp(plugin, { name: 'protocol', dependencies: ['lifecycle', 'rejections'] })

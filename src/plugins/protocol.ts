import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyPluginAsync, FastifyReply } from 'fastify'
import fp from 'fastify-plugin'
import { MAX_HEADERS, type Reason } from './rejections.ts'

/** A host and perhaps a port, or nothing (RFC 9110 section 7.2, RFC 3986 section 3.2). */
const HOST = /^(?:\[[\w.:~!$&'()*+,;=-]+\]|[\w.~!$&'()*+,;=%-]*)(?::\d*)?$/

function countHosts(rawHeaders: string[]): number {
  let hosts = 0
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    if (name.length === 4 && name.toLowerCase() === 'host') hosts++
  }
  return hosts
}

/** Why a request is refused that the parser lets pass and RFC 9112 does not. */
function reasonToReject({ httpVersion, headers, rawHeaders }: IncomingMessage): Reason | undefined {
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return 'version'
  if (rawHeaders.length > 2 * MAX_HEADERS) return 'header_count'
  const hosts = countHosts(rawHeaders)
  if (hosts > 1 || (hosts === 0 && httpVersion === '1.1') || !HOST.test(headers.host ?? '')) return 'host'
  const coding = headers['transfer-encoding']
  if (coding !== undefined) {
    if (httpVersion === '1.0') return 'http10_transfer_coding'
    if (coding.toLowerCase() !== 'chunked') return 'transfer_coding'
  }
  if (isExpecting(httpVersion, headers) && headers.expect?.toLowerCase() !== '100-continue')
    return 'expectation'
  return undefined
}

/** HTTP/1.0 knows no expectations: they are ignored (RFC 9110 section 10.1.1). */
const isExpecting = (httpVersion: string, headers: IncomingHttpHeaders) =>
  headers.expect !== undefined && httpVersion === '1.1'

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
  const asAnyOther = (request: IncomingMessage, response: ServerResponse) =>
    void app.server.emit('request', request, response)
  app.server.on('checkContinue', asAnyOther).on('checkExpectation', asAnyOther)

  app.addHook('onRequest', ({ raw }, reply, done) => {
    const reason = reasonToReject(raw)
    if (reason !== undefined) return app.reject(reply, reason)
    // Whether the client sends the body that it was not asked for, nobody can tell.
    if (isExpecting(raw.httpVersion, raw.headers)) reply.raw.setHeader('connection', 'close')
    done()
  })
  app.decorateReply('askForBody', function (this: FastifyReply) {
    const { httpVersion, headers } = this.request.raw
    if (!isExpecting(httpVersion, headers)) return
    if (!app.lifecycle.draining && headers.upgrade === undefined) this.raw.removeHeader('connection')
    this.raw.writeContinue()
  })
}

/**
 * Refuses what RFC 9112 has a server refuse although Node.js's parser lets it pass, and answers
 * `Expect: 100-continue` when it is known that the body is wanted. Decorates replies with `askForBody`.
 */
export default fp(plugin, { name: 'protocol', dependencies: ['lifecycle', 'rejections'] })

import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'

/** What a client may call its request: nothing that needs quoting in a log, and not long. */
const REQUEST_ID = /^[\w.~-]{1,128}$/

/** Tells this process' ids from those of any other, in 72 random bits. */
const PROCESS_ID = randomBytes(9).toString('base64url')

let lastNumber = 0

/** Fastify's `genReqId`: the client's `X-Request-Id` if it is well formed, or else a new one. */
export function requestId({ headers }: IncomingMessage): string {
  const given = headers['x-request-id']
  return typeof given === 'string' && REQUEST_ID.test(given) ? given : `${PROCESS_ID}-${++lastNumber}`
}

const plugin: FastifyPluginAsync = async (app) => {
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id)
    done()
  })
}

/** Returns each request's id as `X-Request-Id`: the `reqId` of its lines in the log. */
export default fp(plugin, { name: 'request-id' })

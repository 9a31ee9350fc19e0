import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'

/** A valid `X-Request-Id`: short, and without characters that need quotes in a log. */
const REQUEST_ID = /^[\w.~-]{1,128}$/

/** 72 random bits, which make the ids of this process different from those of any other. */
const PROCESS_ID = randomBytes(9).toString('base64url')

let lastNumber = 0

/** Fastify's `genReqId`: the client's `X-Request-Id` if it is valid, otherwise a new id. */
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

/** Sends each request's id as `X-Request-Id`. It is the `reqId` of the request's log lines. */
export default fp(plugin, { name: 'request-id' })

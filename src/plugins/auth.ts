import bearerAuth from '@fastify/bearer-auth'
import { Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { failure, unauthorized } from '../http/errors.ts'

const UNAUTHORIZED = failure('The bearer token is missing or wrong', {
  'WWW-Authenticate': Type.Literal('Bearer'),
})

const plugin: FastifyPluginAsync = async (app) => {
  const { TOKENS } = app.config
  if (TOKENS.length === 0) return
  await app.register(bearerAuth, {
    keys: TOKENS,
    // The case of the scheme's name does not matter (RFC 9110 section 11.1). The plugin follows
    // this only with RFC 6749.
    specCompliance: 'rfc6749',
    addHook: false,
    verifyErrorLogLevel: 'debug',
  })
  app.addHook('onRoute', (route) => {
    if (route.schema === undefined || route.schema.hide) return
    const response = { ...(route.schema.response as object), 401: UNAUTHORIZED }
    route.schema = { ...route.schema, security: [{ bearer: [] }], response }
  })
  app.addHook('onRequest', (request, reply, done) => {
    app.verifyBearerAuth?.(request, reply, (error) => (error ? reply.refuse(unauthorized) : done()))
  })
}

/**
 * Requires a bearer token (RFC 6750) on the routes of its scope if there are tokens, and documents
 * it.
 */
export default fp(plugin, { name: 'auth', dependencies: ['config', 'errors'] })

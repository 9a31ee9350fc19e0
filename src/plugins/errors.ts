import { STATUS_CODES } from 'node:http'
import type { FastifyError, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { ClientGoneError, ErrorBody, HttpError, notFound } from '../errors.ts'

const plugin: FastifyPluginAsync = async (app) => {
  app.addSchema(ErrorBody)
  app.setNotFoundHandler(() => {
    throw notFound()
  })
  app.setErrorHandler((error: FastifyError, request, reply) => {
    if (error instanceof ClientGoneError) {
      reply.hijack()
      return
    }
    if (error instanceof HttpError) {
      reply.code(error.statusCode).headers(error.headers).send({ error: error.message })
      return
    }
    const statusCode = error.statusCode ?? 500
    if (statusCode >= 500) request.log.error({ err: error }, 'request failed')
    reply.code(statusCode).send({ error: STATUS_CODES[statusCode]?.toLowerCase() })
  })
}

/**
 * Answers every error with `{"error": ...}`. Only an `HttpError` speaks to the client; the cause of any other
 * goes to the log.
 */
export default fp(plugin, { name: 'errors' })

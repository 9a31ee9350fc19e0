import { STATUS_CODES } from 'node:http'
import type { FastifyError, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { ClientGoneError, HttpError, notFound } from '../errors.ts'

const plugin: FastifyPluginAsync = async (app) => {
  app.setNotFoundHandler(() => {
    throw notFound()
  })
  app.setErrorHandler((error: FastifyError, request, reply) => {
    if (error instanceof ClientGoneError) {
      reply.hijack()
      return
    }
    const statusCode = error.statusCode ?? 500
    const message = error instanceof HttpError ? error.message : STATUS_CODES[statusCode]?.toLowerCase()
    if (statusCode >= 500 && !(error instanceof HttpError))
      request.log.error({ err: error }, 'request failed')
    reply.code(statusCode).send({ error: message })
  })
}

/**
 * Answers every error with `{"error": ...}`. Only an `HttpError` speaks to the client; the cause of any other
 * goes to the log.
 */
export default fp(plugin, { name: 'errors' })

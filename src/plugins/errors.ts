import { STATUS_CODES } from 'node:http'
import type { FastifyError, FastifyPluginAsync, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { ClientGoneError, ErrorBody, HttpError, notFound } from '../errors.ts'

/** How often the same refusal is logged, in milliseconds: a full store or an overload refuses thousands a second. */
const REFUSAL_LOG_INTERVAL_MS = 60_000

const plugin: FastifyPluginAsync = async (app) => {
  const loggedAt = new Map<string, number>()
  function logRefusal(request: FastifyRequest, { message, statusCode, cause }: HttpError): void {
    const now = performance.now()
    if (now - (loggedAt.get(message) ?? Number.NEGATIVE_INFINITY) < REFUSAL_LOG_INTERVAL_MS) return
    loggedAt.set(message, now)
    request.log.warn({ statusCode, cause: (cause as Error | undefined)?.message }, message)
  }

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
      if (error.statusCode >= 500) logRefusal(request, error)
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
 * goes to the log. Of the refusals that are 5xx the first is logged, and one a minute.
 */
export default fp(plugin, { name: 'errors' })

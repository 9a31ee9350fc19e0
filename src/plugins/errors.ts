import { STATUS_CODES } from 'node:http'
import type { FastifyError, FastifyPluginAsync, FastifyReply } from 'fastify'
import fp from 'fastify-plugin'
import { ClientGoneError, ErrorBody, HttpError } from '../http/errors.ts'
import { RefusalLog } from '../http/refusal-log.ts'
import { traceContext } from '../http/trace-context.ts'

const CONTENT_TYPE = 'application/json; charset=utf-8'

declare module 'fastify' {
  interface FastifyInstance {
    refusalLog: RefusalLog
  }
  interface FastifyRequest {
    /** Why the response is a 5xx, for the log. */
    failure: string | undefined
  }
  interface FastifyReply {
    /**
     * Sends an error response. This is faster than an exception, which Fastify handles on a longer
     * path.
     */
    refuse: (error: HttpError) => void
  }
}

const plugin: FastifyPluginAsync = async (app) => {
  const refusalLog = new RefusalLog(app.log)
  app.decorate('refusalLog', refusalLog)
  app.addHook('onClose', async () => refusalLog.close())

  app.decorateRequest('failure', undefined)
  app.decorateReply('refuse', function (this: FastifyReply, error: HttpError) {
    const { statusCode, message, headers, body } = error
    if (statusCode >= 500) {
      const { raw, id: reqId } = this.request
      const cause = (error.cause as Error | undefined)?.message
      this.request.failure = cause ?? message
      refusalLog.note(message, raw.socket, { reqId, ...traceContext(raw.headers), statusCode, cause })
    }
    this.code(statusCode).headers(headers).header('content-type', CONTENT_TYPE).send(body)
  })

  app.addSchema(ErrorBody)
  app.setErrorHandler((error: FastifyError, request, reply) => {
    if (error instanceof ClientGoneError) {
      reply.hijack()
      return
    }
    if (error instanceof HttpError) return reply.refuse(error)
    const statusCode = error.statusCode ?? 500
    if (statusCode >= 500) {
      request.failure = error.message
      request.log.error({ err: error }, 'request failed')
    }
    reply.code(statusCode).send({ error: STATUS_CODES[statusCode]?.toLowerCase() })
  })
}

/**
 * Answers every error with `{"error": ...}`. The client sees the message of an `HttpError`; the
 * message of any other error is only logged. Decorates replies with `refuse`, and the application
 * with `refusalLog`, which logs refusals with a 5xx.
 */
export default fp(plugin, { name: 'errors' })

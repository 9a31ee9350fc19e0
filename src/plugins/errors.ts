import { STATUS_CODES } from 'node:http'
import type { FastifyError, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { ClientGoneError, ErrorBody, HttpError } from '../errors.ts'
import { RefusalLog } from '../http/refusal-log.ts'

declare module 'fastify' {
  interface FastifyInstance {
    refusalLog: RefusalLog
  }
}

const plugin: FastifyPluginAsync = async (app) => {
  const refusalLog = new RefusalLog(app.log)
  app.decorate('refusalLog', refusalLog)
  app.addHook('onClose', async () => refusalLog.close())

  app.addSchema(ErrorBody)
  app.setErrorHandler((error: FastifyError, request, reply) => {
    if (error instanceof ClientGoneError) {
      reply.hijack()
      return
    }
    if (error instanceof HttpError) {
      const { message, statusCode, headers } = error
      if (statusCode >= 500) {
        const cause = (error.cause as Error | undefined)?.message
        refusalLog.note(message, request.raw.socket, { reqId: request.id, statusCode, cause })
      }
      reply.code(statusCode).headers(headers).send({ error: message })
      return
    }
    const statusCode = error.statusCode ?? 500
    if (statusCode >= 500) request.log.error({ err: error }, 'request failed')
    reply.code(statusCode).send({ error: STATUS_CODES[statusCode]?.toLowerCase() })
  })
}

/**
 * Answers every error with `{"error": ...}`. Only an `HttpError` speaks to the client; the cause of any other
 * goes to the log. Refusals that are 5xx go to `refusalLog`, which decorates the application.
 */
export default fp(plugin, { name: 'errors' })

import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, { type FastifyReply, type FastifyRequest, LogController } from 'fastify'
import { OneWriteResponse } from './http/one-write-response.ts'
import { compileValidator, parseQuery } from './http/query.ts'
import { createRequestLogger, requestFields } from './http/request-logger.ts'
import auth from './plugins/auth.ts'
import config, { type Config } from './plugins/config.ts'
import connections from './plugins/connections.ts'
import errors from './plugins/errors.ts'
import faults from './plugins/faults.ts'
import lifecycle from './plugins/lifecycle.ts'
import methods from './plugins/methods.ts'
import metrics from './plugins/metrics.ts'
import openapi from './plugins/openapi.ts'
import overload from './plugins/overload.ts'
import protocol from './plugins/protocol.ts'
import rejections, { answerBadUrl, answerClientError, MAX_HEADER_BYTES } from './plugins/rejections.ts'
import requestIds, { requestId } from './plugins/request-id.ts'
import store from './plugins/store.ts'
import unread from './plugins/unread.ts'
import buckets from './routes/buckets.ts'
import documentation from './routes/documentation.ts'
import health from './routes/health.ts'

/** How often the server looks for requests that arrive too slowly, in milliseconds. */
const TIMEOUT_CHECK_INTERVAL_MS = 1000

/**
 * Logs requests at debug level only, because the metrics count them, and the info level must keep
 * nothing that a client sent.
 */
class RequestLog extends LogController {
  override incomingRequest(request: FastifyRequest): void {
    request.log.debug({ req: request }, 'request')
  }

  override requestCompleted(_error: unknown, _request: FastifyRequest, reply: FastifyReply): void {
    reply.log.debug({ res: reply, responseTime: reply.elapsedTime }, 'response')
  }

  override streamError(error: Error, _request: FastifyRequest, reply: FastifyReply): void {
    reply.log.debug({ err: error }, 'response not sent completely')
  }
}

/** Builds the application, which does not listen yet. It writes its log to `stream`. */
export function buildApp(settings: Config, stream: { write(line: string): void } = process.stdout) {
  const app = Fastify({
    logger: {
      level: settings.LOG_LEVEL,
      formatters: { level: (level) => ({ level }) },
      mixin: requestFields,
      stream,
    },
    logController: new RequestLog(),
    childLoggerFactory: createRequestLogger,
    genReqId: requestId,
    frameworkErrors: answerBadUrl,
    clientErrorHandler: answerClientError,
    requestTimeout: settings.REQUEST_TIMEOUT_SECONDS * 1000,
    keepAliveTimeout: settings.KEEP_ALIVE_SECONDS * 1000,
    return503OnClosing: false,
    // No URL is longer, so the router never refuses an id for its length. The route does, after the
    // hooks.
    routerOptions: { maxParamLength: MAX_HEADER_BYTES, querystringParser: parseQuery },
    schemaController: {
      compilersFactory: {
        // The type is for Ajv. Ajv is not loaded, which saves a tenth of a second at the start.
        buildValidator: () => compileValidator as never,
        buildSerializer: () => () => JSON.stringify,
      },
    },
    http: {
      ServerResponse: OneWriteResponse,
      maxHeaderSize: MAX_HEADER_BYTES,
      // Node.js would answer without JSON, and nothing would count it. The protocol plugin does
      // both.
      requireHostHeader: false,
      headersTimeout: Math.min(settings.HEADERS_TIMEOUT_SECONDS, settings.REQUEST_TIMEOUT_SECONDS) * 1000,
      connectionsCheckingInterval: TIMEOUT_CHECK_INTERVAL_MS,
    },
  }).withTypeProvider<TypeBoxTypeProvider>()

  // Each plugin names the plugins that it depends on, and the start fails if they are not
  // registered before it. Beyond that the order of these lines matters in four places:
  // - openapi and methods come before every route, `/metrics` of metrics included: they see only
  //   the routes that follow.
  // - request-id comes before every hook that may answer a request, so that each response has the
  //   id.
  // - overload, auth and faults run in this order: an overloaded process compares no tokens, and a
  //   drill changes only requests that would be served.
  // - answerOtherMethods comes after the last route. Otherwise the start fails.
  app.register(config, { config: settings })
  app.register(openapi)
  app.register(errors)
  app.register(requestIds)
  app.register(connections)
  app.register(methods)
  app.register(metrics)
  app.register(rejections)
  app.register(lifecycle)
  app.register(protocol)
  app.register(unread)
  app.register(store)

  app.register(health)
  app.register(documentation)
  app.register(async (api) => {
    api.register(overload)
    api.register(auth)
    api.register(faults)
    api.register(buckets)
  })
  app.after(() => app.answerOtherMethods())
  return app
}

import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, {
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerOptions,
  LogController,
} from 'fastify'
import config, { type Config } from './plugins/config.ts'
import connections from './plugins/connections.ts'
import errors from './plugins/errors.ts'
import lifecycle from './plugins/lifecycle.ts'
import methods from './plugins/methods.ts'
import metrics from './plugins/metrics.ts'
import overload from './plugins/overload.ts'
import rejections, { answerBadUrl, answerClientError, MAX_HEADER_BYTES } from './plugins/rejections.ts'
import store from './plugins/store.ts'
import buckets from './routes/buckets.ts'
import health from './routes/health.ts'

/** How long a request may take to arrive, and its headers, in milliseconds: slow ones are cut with 408. */
const REQUEST_TIMEOUT_MS = 120_000
const HEADERS_TIMEOUT_MS = 15_000
const TIMEOUT_CHECK_INTERVAL_MS = 5_000

/** How long a connection may make no progress during a request or its answer, in milliseconds. */
const STALL_TIMEOUT_MS = 60_000

/** Requests are logged at debug only: the metrics count them, and nothing that a client sent is kept at info. */
class RequestLog extends LogController {
  override incomingRequest(request: FastifyRequest): void {
    request.log.debug({ req: request }, 'request')
  }

  override requestCompleted(
    _error: Error | null | undefined,
    _request: FastifyRequest,
    reply: FastifyReply,
  ): void {
    reply.log.debug({ res: reply, responseTime: reply.elapsedTime }, 'response')
  }
}

/** Builds the application, which listens to nothing yet. */
export function buildApp(
  settings: Config,
  logger: FastifyServerOptions['logger'] = { level: settings.LOG_LEVEL },
) {
  const app = Fastify({
    logger,
    logController: new RequestLog(),
    frameworkErrors: answerBadUrl,
    clientErrorHandler: answerClientError,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: STALL_TIMEOUT_MS,
    return503OnClosing: false,
    // No URL is longer, so that the router refuses no id for its length: the route does, after the hooks.
    routerOptions: { maxParamLength: MAX_HEADER_BYTES },
    http: {
      maxHeaderSize: MAX_HEADER_BYTES,
      // Node.js would answer by itself, in no JSON and uncounted: the rejections plugin does.
      requireHostHeader: false,
      headersTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: TIMEOUT_CHECK_INTERVAL_MS,
    },
  }).withTypeProvider<TypeBoxTypeProvider>()

  app.register(config, { config: settings })
  app.register(connections)
  app.register(methods)
  app.register(metrics)
  app.register(rejections)
  app.register(errors)
  app.register(lifecycle)
  app.register(store)

  app.register(health)
  app.register(async (api) => {
    api.register(overload)
    api.register(buckets)
  })
  app.after(() => app.answerOtherMethods())
  return app
}

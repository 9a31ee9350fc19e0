import type { IncomingMessage } from 'node:http'
import type { FastifyBaseLogger, FastifyServerOptions } from 'fastify'
import { traceContext } from './trace-context.ts'

/** The request that a logger is for. */
const REQUEST = Symbol('request')

type CreateLogger = NonNullable<FastifyServerOptions['childLoggerFactory']>

interface RequestLogger extends FastifyBaseLogger {
  [REQUEST]?: { bindings: object; raw: IncomingMessage }
}

/**
 * Fastify's `childLoggerFactory`: the logger of a request, whose lines have {@link requestFields}.
 * `logger.child` would turn them into JSON for each request, and most requests have no line. This
 * takes 5 % of the processor time of a GET (`npm run bench`, with and without this factory).
 */
export const createRequestLogger: CreateLogger = (parent, bindings, options, raw) => {
  const { level, serializers } = options
  const logger: RequestLogger = Object.create(level || serializers ? parent.child({}, options) : parent)
  logger[REQUEST] = { bindings, raw }
  return logger
}

/** pino's `mixin`: the id and the trace context of the request that a line is about. */
export function requestFields(_line: object, _level: number, { [REQUEST]: request }: RequestLogger): object {
  return { ...request?.bindings, ...(request && traceContext(request.raw.headers)) }
}

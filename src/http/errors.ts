import { type Static, type TSchema, Type } from '@sinclair/typebox'

/** The body of every error response: a shared schema, which the errors plugin adds. */
export const ErrorBody = Type.Object(
  { error: Type.String({ description: 'What is wrong and what is allowed, in lower-case words' }) },
  { $id: 'ErrorBody' },
)

/** The schema of an error response: its meaning and its headers. */
export const failure = (description: string, headers: Record<string, TSchema> = {}) =>
  Type.Unsafe<Static<typeof ErrorBody>>({
    description,
    headers,
    content: { 'application/json': { schema: Type.Ref(ErrorBody) } },
  })

/**
 * An error response: a status code, a message that clients may see, and headers. `reply.refuse`
 * sends it. It may also be thrown, which is slower. It has no stack, because a stack costs 4 us, a
 * fifth of a GET.
 */
export class HttpError extends Error {
  readonly statusCode: number
  readonly headers: Record<string, string>
  /** The response body, an {@link ErrorBody}. */
  readonly body: string

  constructor(statusCode: number, message: string, headers: Record<string, string> = {}) {
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = 0
    super(message)
    Error.stackTraceLimit = stackTraceLimit
    this.name = 'HttpError'
    this.statusCode = statusCode
    this.headers = headers
    this.body = JSON.stringify({ error: message })
  }
}

/** The client closed the connection before its request was complete. Nobody is left to answer. */
export class ClientGoneError extends Error {
  override name = 'ClientGoneError'
}

const RETRY_AFTER_SECONDS = 1

export const notFound = new HttpError(404, 'not found')

export const unsupportedContentRange = new HttpError(
  400,
  'content-range is not supported: put the whole object',
)

export const unsupportedContentEncoding = new HttpError(415, 'content-encoding must be identity or absent')

export const invalidId = new HttpError(
  400,
  'id must be percent-encoded utf-8 without control characters, and not empty, . or ..',
)

export const idTooLong = (maxBytes: number) => new HttpError(414, `id too long: at most ${maxBytes} bytes`)

export const invalidQuery = new HttpError(400, 'query must be percent-encoded utf-8')

export const invalidParameters = (allowed: Iterable<string>) => new HttpError(400, [...allowed].join('; '))

export const invalidCursor = new HttpError(400, 'cursor must be the next of an earlier page')

export const invalidEntityTags = (field: string) =>
  new HttpError(400, `${field} must be * or a list of entity tags in double quotes`)

export const preconditionFailed = new HttpError(
  412,
  'precondition failed: the object is not what if-match or if-none-match asks for',
)

export const rangeNotSatisfiable = (size: number) =>
  new HttpError(416, `range not satisfiable: the object has ${size} bytes`, {
    'content-range': `bytes */${size}`,
  })

export const unauthorized = new HttpError(401, 'authorization must be bearer with a valid token', {
  'www-authenticate': 'Bearer',
})

export const objectTooLarge = (maxBytes: number) =>
  new HttpError(413, `object too large: at most ${maxBytes} bytes`)

export const storeFull = new HttpError(507, 'store full: delete objects or store smaller ones')

export const overloaded = new HttpError(503, 'overloaded: retry later', {
  'retry-after': `${RETRY_AFTER_SECONDS}`,
})

/** The engine cannot be reached, or rejects commands at the moment. The log has the cause. */
export const engineUnavailable = (cause: unknown) =>
  Object.assign(
    new HttpError(503, 'storage engine unavailable: retry later', {
      'retry-after': `${RETRY_AFTER_SECONDS}`,
    }),
    { cause },
  )

/** Not ready, because of a trouble of the engine. */
export const notReady = (trouble: string) => new HttpError(503, trouble)

export const shuttingDown = new HttpError(503, 'shutting down')

export const methodNotAllowed = (allow: string) =>
  new HttpError(405, `method not allowed: use ${allow.toLowerCase()}`, { allow })

import { Type } from '@sinclair/typebox'

/** The body of every answer that is not a success. */
export const ErrorBody = Type.Object({
  error: Type.String({ description: 'What is wrong and what is allowed, in lower-case words' }),
})

/** An answer other than success: a status code, and a message that is fit for the client to see. */
export class HttpError extends Error {
  readonly statusCode: number

  constructor(statusCode: number, message: string) {
    super(message)
    this.name = 'HttpError'
    this.statusCode = statusCode
  }
}

/** The client closed the connection before its request was complete: there is nobody left to answer. */
export class ClientGoneError extends Error {
  override name = 'ClientGoneError'
}

export const notFound = () => new HttpError(404, 'not found')

export const contentRange = () => new HttpError(400, 'content-range is not supported: put the whole object')

export const contentEncoding = () => new HttpError(415, 'content-encoding must be identity or absent')

export const invalidId = () =>
  new HttpError(400, 'id must be percent-encoded utf-8 without control characters, and not empty, . or ..')

export const idTooLong = (maxBytes: number) => new HttpError(414, `id too long: at most ${maxBytes} bytes`)

export const objectTooLarge = (maxBytes: number) =>
  new HttpError(413, `object too large: at most ${maxBytes} bytes`)

export const storeFull = () => new HttpError(507, 'store full: delete objects or store smaller ones')

export const overloaded = () => new HttpError(503, 'overloaded: retry later')

export const shuttingDown = () => new HttpError(503, 'shutting down')

export const methodNotAllowed = (allow: string) =>
  new HttpError(405, `method not allowed: use ${allow.toLowerCase()}`)

export const hostMissing = () => new HttpError(400, 'host header missing')

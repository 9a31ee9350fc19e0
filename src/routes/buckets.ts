import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import {
  idTooLong,
  invalidCursor,
  invalidId,
  notFound,
  preconditionFailed,
  rangeNotSatisfiable,
  storeFull,
  unsupportedContentEncoding,
  unsupportedContentRange,
} from '../http/errors.ts'
import { failing, type Preconditions, readPreconditions } from '../http/preconditions.ts'
import { type ByteRange, readRange } from '../http/range.ts'
import { receive } from '../http/upload.ts'
import { type MaybePromise, NO_RANGE, type ObjectDescription } from '../store/store.ts'
import { deleteSchema, getSchema, headSchema, listSchema, MAX_ID_BYTES, putSchema } from './buckets.schema.ts'

/** With these headers no browser runs the object or guesses its type. */
const GET_HEADERS = {
  'content-type': 'application/octet-stream',
  'accept-ranges': 'bytes',
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; sandbox",
}

/** The headers that a 304 has too (RFC 9110 section 15.4.5). */
function validators({ etag, expires }: ObjectDescription): Record<string, string> {
  const headers = { 'cache-control': 'no-cache', etag }
  return expires === undefined ? headers : { ...headers, expiration: `${expires}` }
}

/**
 * Answers a GET or a HEAD whose precondition has failed: 412, or 304 if the object is not modified.
 */
function sendFailed(failed: keyof Preconditions, object: ObjectDescription, reply: FastifyReply): void {
  if (failed === 'ifMatch') reply.refuse(preconditionFailed)
  else reply.headers(validators(object)).code(304).send()
}

/**
 * The range that the request asks for. `Range` is ignored if `If-Range` has another entity tag (RFC
 * 9110 section 13.1.5).
 */
function rangeOf({ etag, size }: ObjectDescription, headers: IncomingHttpHeaders) {
  return (headers['if-range'] ?? etag) === etag ? readRange(headers.range, size) : undefined
}

/** The bytes in the response to a GET. A 304, a 412 and a 416 have no bytes. */
function selectBytes(
  object: ObjectDescription,
  headers: IncomingHttpHeaders,
  preconditions: Preconditions | undefined,
): ByteRange {
  if (failing(preconditions, object.etag) !== undefined) return NO_RANGE
  const range = rangeOf(object, headers)
  return range === 'unsatisfiable' ? NO_RANGE : (range ?? { first: 0, last: object.size - 1 })
}

/** The hook that refuses an invalid id: 400 or 414. */
function checkId({ params, raw }: FastifyRequest, reply: FastifyReply, done: () => void): void {
  const { id } = params as ObjectRoute['Params']
  // The router ends the id at a `#`, which the client did not mean.
  if (id === '' || id === '.' || id === '..' || hasControlCharacter(id) || raw.url?.includes('#'))
    reply.refuse(invalidId)
  else if (id.length > MAX_ID_BYTES || Buffer.byteLength(id) > MAX_ID_BYTES)
    reply.refuse(idTooLong(MAX_ID_BYTES))
  else done()
}

const hasControlCharacter = (text: string) => /\p{Cc}/u.test(text)

/** Calls `next` with the value: at once if it is not a promise. */
function settle<T, R>(value: MaybePromise<T>, next: (value: T) => R): MaybePromise<R> {
  return value instanceof Promise ? value.then(next) : next(value)
}

const encodeCursor = (next: string) => Buffer.from(next).toString('base64url')

/** @throws {HttpError} 400 if {@link encodeCursor} cannot have made the cursor. */
function decodeCursor(cursor: string): string {
  const next = Buffer.from(cursor, 'base64url').toString()
  if (encodeCursor(next) !== cursor) throw invalidCursor
  return next
}

interface ObjectRoute {
  Params: { id: string }
}

/** `/api/buckets/:id`: binary objects under ids. */
const objects: FastifyPluginAsyncTypebox = async (app) => {
  const { store, config } = app

  app.put('/api/buckets/:id', { schema: putSchema, onRequest: checkId }, async (request, reply) => {
    const { headers } = request.raw
    const { id } = request.params
    const { ttl } = request.query
    if (headers['content-range'] !== undefined) throw unsupportedContentRange
    if ((headers['content-encoding'] || 'identity').toLowerCase() !== 'identity')
      throw unsupportedContentEncoding
    const preconditions = readPreconditions(headers)
    const upload = await receive(request.raw, {
      maxBytes: config.MAX_OBJECT_BYTES,
      memory: store,
      accept: () =>
        settle(preconditions === undefined || store.check(id, preconditions), (isAccepted) => {
          if (isAccepted) reply.askForBody()
          else reply.refuse(preconditionFailed)
          return isAccepted
        }),
    })
    if (upload === undefined) return
    const { bytes, etag } = upload
    const expires = ttl === undefined ? undefined : Math.ceil(Date.now() / 1000 + ttl)
    const outcome = await store.put(id, { bytes, etag, expires }, preconditions)
    if (outcome === 'full') reply.refuse(storeFull)
    else if (outcome === 'precondition_failed') reply.refuse(preconditionFailed)
    else
      reply
        .header('etag', etag)
        .code(outcome === 'created' ? 201 : 204)
        .send()
    // The reply is not returned. It has a `then`, so an async function would wait for it.
  })

  app.head('/api/buckets/:id', { schema: headSchema, onRequest: checkId }, (request, reply) => {
    const preconditions = readPreconditions(request.raw.headers)
    return settle(store.describe(request.params.id), (object) => {
      if (object === undefined) return reply.refuse(notFound)
      const failed = failing(preconditions, object.etag)
      if (failed !== undefined) return sendFailed(failed, object, reply)
      reply.headers(GET_HEADERS).headers(validators(object)).header('content-length', object.size)
      reply.code(200).send()
    })
  })

  app.get(
    '/api/buckets/:id',
    { schema: getSchema, config: { sendsStored: true }, onRequest: checkId },
    (request, reply) => {
      const { headers } = request.raw
      const preconditions = readPreconditions(headers)
      const isWhole = preconditions === undefined && headers.range === undefined
      const select = isWhole
        ? undefined
        : (object: ObjectDescription) => selectBytes(object, headers, preconditions)
      return settle(store.get(request.params.id, select), (object) => {
        if (object === undefined) return reply.refuse(notFound)
        const failed = failing(preconditions, object.etag)
        if (failed !== undefined) return sendFailed(failed, object, reply)
        const range = rangeOf(object, headers)
        if (range === 'unsatisfiable') return reply.refuse(rangeNotSatisfiable(object.size))
        reply.headers(GET_HEADERS).headers(validators(object))
        if (range !== undefined)
          reply.code(206).header('content-range', `bytes ${range.first}-${range.last}/${object.size}`)
        reply.send(object.bytes)
        // No closure is kept on Fastify's reply. V8 would promote the reply with all that it refers
        // to, and a GET would cost half as much again.
        if (request.raw.socket.writableLength > 0) reply.raw.once('close', store.reading(object))
      })
    },
  )

  app.delete('/api/buckets/:id', { schema: deleteSchema, onRequest: checkId }, (request, reply) =>
    settle(store.delete(request.params.id, readPreconditions(request.raw.headers)), (outcome) => {
      if (outcome === 'miss') return reply.refuse(notFound)
      if (outcome === 'precondition_failed') return reply.refuse(preconditionFailed)
      reply.code(204).send()
    }),
  )
}

/** `/api/buckets`: the listing. */
const listing: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/api/buckets', { schema: listSchema }, (request, reply) => {
    const { prefix, limit, cursor } = request.query
    const after = cursor === '' ? undefined : decodeCursor(cursor)
    return settle(app.store.list({ prefix, limit, after }), (page) => {
      if (page === undefined) return reply.refuse(invalidCursor)
      const { objects, next } = page
      reply.send({ buckets: objects, next: next === undefined ? null : encodeCursor(next) })
    })
  })
}

/** `/api/buckets` and `/api/buckets/:id`. */
const buckets: FastifyPluginAsyncTypebox = async (app) => {
  app.register(listing)
  app.register(objects)
}

export default buckets

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import {
  contentEncoding,
  contentRange,
  ErrorBody,
  idTooLong,
  invalidId,
  notFound,
  storeFull,
} from '../errors.ts'
import type { MaybePromise } from '../store/store.ts'
import { receive } from '../upload.ts'

/** The longest id, in bytes of UTF-8. */
const MAX_ID_BYTES = 512

const Params = Type.Object({ id: Type.String({ description: '1 to 512 bytes of percent-encoded UTF-8' }) })
const Bytes = Type.Unsafe<Buffer>({ type: 'string', format: 'binary' })
const Nothing = Type.Unsafe<undefined>({})
const errors = { 400: ErrorBody, 414: ErrorBody, 500: ErrorBody, 503: ErrorBody }

const putSchema = {
  params: Params,
  response: { 201: Nothing, 204: Nothing, 413: ErrorBody, 415: ErrorBody, 507: ErrorBody, ...errors },
}
const getSchema = { params: Params, response: { 200: Bytes, 404: ErrorBody, ...errors } }
const deleteSchema = { params: Params, response: { 204: Nothing, 404: ErrorBody, ...errors } }

/** Whatever was stored, no browser runs it, guesses at its type, or keeps it without asking. */
const GET_HEADERS = {
  'content-type': 'application/octet-stream',
  'cache-control': 'no-cache',
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; sandbox",
}

/** @throws {HttpError} 400 or 414, for an id that is none. */
function checkId(id: string, url: string): void {
  // At a `#` the router stops: the id would not be what was meant.
  if (id === '' || id === '.' || id === '..' || hasControlCharacter(id) || url.includes('#'))
    throw invalidId()
  if (id.length > MAX_ID_BYTES || Buffer.byteLength(id) > MAX_ID_BYTES) throw idTooLong(MAX_ID_BYTES)
}

const hasControlCharacter = (text: string) => /\p{Cc}/u.test(text)

/** Calls `next` with the value, without a promise where there is none. */
function settle<T>(value: MaybePromise<T>, next: (value: T) => void): MaybePromise<void> {
  return value instanceof Promise ? value.then(next) : next(value)
}

/** `/api/buckets/:id`: binary objects under ids. */
const buckets: FastifyPluginAsyncTypebox = async (app) => {
  const { store, config } = app

  app.addHook('onRequest', (request, _reply, done) => {
    checkId((request.params as { id: string }).id, request.raw.url as string)
    done()
  })

  app.put('/api/buckets/:id', { schema: putSchema }, async (request, reply) => {
    const { headers } = request.raw
    if (headers['content-range'] !== undefined) throw contentRange()
    if ((headers['content-encoding'] || 'identity').toLowerCase() !== 'identity') throw contentEncoding()
    const bytes = await receive(request.raw, config.MAX_OBJECT_BYTES, store)
    const outcome = await store.put(request.params.id, bytes)
    if (outcome === 'full') throw storeFull()
    return reply.code(outcome === 'created' ? 201 : 204).send()
  })

  app.get('/api/buckets/:id', { schema: getSchema }, (request, reply) =>
    settle(store.get(request.params.id), (object) => {
      if (object === undefined) throw notFound()
      reply.headers(GET_HEADERS).send(object.bytes)
      if (request.raw.socket.writableLength > 0) reply.raw.once('close', store.reading(object))
    }),
  )

  app.delete('/api/buckets/:id', { schema: deleteSchema }, (request, reply) =>
    settle(store.delete(request.params.id), (outcome) => {
      if (outcome === 'miss') throw notFound()
      reply.code(204).send()
    }),
  )
}

export default buckets

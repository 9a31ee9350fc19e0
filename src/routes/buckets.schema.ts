/**
 * The schemas of the storage routes. OpenAPI describes the routes by them, Fastify reads queries by them,
 * and TypeScript types the handlers by them.
 */
import { type TSchema, Type } from '@sinclair/typebox'
import { failure } from '../http/errors.ts'
import { integer, text } from '../http/parameters.ts'
import { CHECKED_BY_ROUTE } from '../http/query.ts'

/** The longest id, in bytes of UTF-8. */
export const MAX_ID_BYTES = 512

/** The longest `ttl` of a PUT, in seconds: ten years of 366 days. */
export const MAX_TTL_SECONDS = 10 * 366 * 24 * 60 * 60

/** The maximum number of objects on a page. */
export const MAX_LIMIT = 1000

const tags = ['buckets']

/** For schemas that the validator does not read. */
const checkedByRoute = { [CHECKED_BY_ROUTE]: true }

/** The route itself checks ids, because a schema counts characters instead of bytes. */
const params = Type.Object(
  {
    id: Type.String({
      description: `1 to ${MAX_ID_BYTES} bytes of UTF-8, percent-encoded, without control characters. Not \`.\` or \`..\`.`,
      minLength: 1,
      maxLength: MAX_ID_BYTES,
      pattern: '^(?!\\.\\.?$)[^\\u0000-\\u001f\\u007f-\\u009f]*$',
    }),
  },
  checkedByRoute,
)

const ETag = Type.String({
  description: 'A strong entity tag. Objects with the same bytes have the same tag.',
})
const Expiration = Type.Integer({
  description: 'When the object expires, in Unix seconds. Absent if it does not expire.',
})
const validators = { ETag, Expiration, 'Cache-Control': Type.Literal('no-cache') }
const contentHeaders = {
  ...validators,
  'Accept-Ranges': Type.Literal('bytes'),
  'X-Content-Type-Options': Type.Literal('nosniff'),
  'Content-Security-Policy': Type.Literal("default-src 'none'; sandbox"),
}

const preconditions = {
  'If-Match': Type.Optional(
    Type.String({
      description: 'Entity tags, or `*` for any. If the object has none of them, the response is 412.',
    }),
  ),
  'If-None-Match': Type.Optional(
    Type.String({
      description:
        'Entity tags, or `*` for any. If the object has one of them, GET and HEAD get 304, PUT and DELETE 412.',
    }),
  ),
}

const anyBytes = { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } }

/** An answer without a body. */
const nothing = (description: string, headers: Record<string, TSchema> = {}) =>
  Type.Unsafe<undefined>({ type: 'null', description, headers })

const bytes = (description: string, headers: Record<string, TSchema>) =>
  Type.Unsafe<Buffer>({ description, headers, content: anyBytes })

const failures = {
  400: failure('The id, a parameter or a header is invalid'),
  500: failure('An internal error. The log has the cause.'),
  503: failure('Overloaded, or the storage engine is unavailable', {
    'Retry-After': Type.Integer({ description: 'How many seconds to wait before the next attempt' }),
  }),
}
const objectFailures = {
  ...failures,
  412: failure('A precondition failed. Nothing has changed.'),
  414: failure(`The id is longer than ${MAX_ID_BYTES} bytes`),
}
const notModified = nothing("Not modified: If-None-Match lists the object's entity tag", validators)
const absent = failure('No object has this id')

export const putSchema = {
  tags,
  operation: 'putObject',
  summary: 'Store an object',
  description:
    'Stores any bytes, with any Content-Type or without one. Replaces an existing object and its expiry.',
  params,
  querystring: Type.Object({
    ttl: Type.Optional(
      integer(1, MAX_TTL_SECONDS, {
        unit: 'seconds',
        description: 'The object expires after this many seconds. Without ttl it does not expire.',
      }),
    ),
  }),
  headers: Type.Object(preconditions, checkedByRoute),
  requestBody: { content: anyBytes },
  response: {
    201: nothing('A new object was stored', { ETag }),
    204: nothing('An existing object was replaced', { ETag }),
    413: failure('The object is larger than MAX_OBJECT_BYTES'),
    415: failure('Content-Encoding is not identity'),
    507: failure('The store is full'),
    ...objectFailures,
  },
}

export const getSchema = {
  tags,
  operation: 'getObject',
  summary: 'Read an object or a part of it',
  params,
  headers: Type.Object(
    {
      ...preconditions,
      Range: Type.Optional(
        Type.String({
          description: 'One range of bytes. Several ranges and malformed ranges are ignored.',
        }),
      ),
      'If-Range': Type.Optional(
        Type.String({ description: "An entity tag. Range is ignored unless it is the object's tag." }),
      ),
    },
    checkedByRoute,
  ),
  response: {
    200: bytes('The object', contentHeaders),
    206: bytes('The part that Range asks for', { ...contentHeaders, 'Content-Range': Type.String() }),
    304: notModified,
    404: absent,
    416: failure('The range begins after the end of the object', { 'Content-Range': Type.String() }),
    ...objectFailures,
  },
}

export const headSchema = {
  tags,
  operation: 'headObject',
  summary: 'Read an object',
  params,
  headers: Type.Object(preconditions, checkedByRoute),
  response: {
    200: nothing('The object exists', { ...contentHeaders, 'Content-Length': Type.Integer() }),
    304: notModified,
    404: absent,
    ...objectFailures,
  },
}

export const deleteSchema = {
  tags,
  operation: 'deleteObject',
  summary: 'Delete an object',
  params,
  headers: Type.Object(preconditions, checkedByRoute),
  response: { 204: nothing('The object was deleted'), 404: absent, ...objectFailures },
}

const ListedObject = Type.Object({
  id: Type.String(),
  size: Type.Integer({ description: 'In bytes' }),
  etag: Type.String({ description: 'As in the ETag header, with the quotes' }),
  modified: Type.Integer({ description: 'When the object was stored, in Unix seconds' }),
  expires: Type.Optional(Type.Integer({ description: 'When the object expires, in Unix seconds' })),
})

const anyText = (description: string) => text(/^/, 'given once', { default: '', description })

export const listSchema = {
  tags,
  operation: 'listObjects',
  summary: 'List objects',
  description:
    'Lists objects page by page, in no particular order. An id that exists during the whole listing is on one of the pages.',
  querystring: Type.Object({
    prefix: anyText('Only ids that begin with this text'),
    limit: integer(1, MAX_LIMIT, {
      default: 100,
      description:
        'The maximum number of objects on a page. A page may have fewer, even if more pages follow.',
    }),
    cursor: anyText('The `next` of the previous page. Empty for the first page.'),
  }),
  response: {
    200: Type.Object(
      {
        buckets: Type.Array(ListedObject),
        next: Type.Union([Type.String(), Type.Null()], {
          description: 'The cursor of the next page, or null on the last page',
        }),
      },
      { description: 'One page of the list' },
    ),
    ...failures,
  },
}

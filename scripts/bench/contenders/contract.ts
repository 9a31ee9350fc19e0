/**
 * The common part of the floors: the service's responses to the workloads (status, headers and
 * body), from a Map.
 */
import { hash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

/** The timeout of the service, so that the floors also send `Keep-Alive: timeout=72`. */
export const KEEP_ALIVE_MS = 72_000

const PATH = '/api/buckets'
const PAGE = 100
const JSON_TYPE = 'application/json; charset=utf-8'
const GET_HEADERS = {
  'content-type': 'application/octet-stream',
  'accept-ranges': 'bytes',
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; sandbox",
}

/** The headers without `Content-Length`, which a framework adds. */
export interface Answer {
  readonly status: number
  readonly headers: Record<string, string>
  /** Empty with a 201. Undefined with a 204 or 304, which have no `Content-Length`. */
  readonly body?: Buffer | string
}

interface StoredObject {
  readonly bytes: Buffer
  readonly etag: string
  readonly modified: number
}

const objects = new Map<string, StoredObject>()
let lastNumber = 0

const json = (requestId: string, status: number, body: object): Answer => ({
  status,
  headers: { 'x-request-id': requestId, 'content-type': JSON_TYPE },
  body: JSON.stringify(body),
})

function list(requestId: string): Answer {
  const buckets: object[] = []
  let next: string | null = null
  for (const [id, { bytes, etag, modified }] of objects) {
    if (buckets.length === PAGE) break
    buckets.push({ id, size: bytes.length, etag, modified })
    next = id
  }
  if (objects.size <= PAGE) next = null
  return json(requestId, 200, { buckets, next: next && Buffer.from(next).toString('base64url') })
}

function put(requestId: string, id: string, bytes: Buffer, isOnlyNew: boolean): Answer {
  const isNew = !objects.has(id)
  if (isOnlyNew && !isNew) {
    const error = 'precondition failed: the object is not what if-match or if-none-match asks for'
    return json(requestId, 412, { error })
  }
  const etag = `"${hash('sha256', bytes, 'base64url').slice(0, 22)}"`
  objects.set(id, { bytes, etag, modified: Math.floor(Date.now() / 1000) })
  const headers = { 'x-request-id': requestId, etag }
  return isNew ? { status: 201, headers, body: '' } : { status: 204, headers }
}

/** Handles a request. `body` is the body of a PUT. */
export function answer({ method, url = '', headers }: IncomingMessage, body?: Buffer): Answer {
  const requestId = `contenders-${++lastNumber}`
  const id = url.slice(PATH.length + 1)
  if (id === '') return list(requestId)
  if (body !== undefined) return put(requestId, id, body, headers['if-none-match'] === '*')
  const object = objects.get(id)
  if (object === undefined) return json(requestId, 404, { error: 'not found' })
  if (method === 'DELETE') {
    objects.delete(id)
    return { status: 204, headers: { 'x-request-id': requestId } }
  }
  const { bytes, etag } = object
  const validators = { 'cache-control': 'no-cache', etag }
  if (headers['if-none-match'] !== undefined)
    return { status: 304, headers: { 'x-request-id': requestId, ...validators } }
  const common = { 'x-request-id': requestId, ...GET_HEADERS, ...validators }
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? []
  if (last === undefined) return { status: 200, headers: common, body: bytes }
  const range = { ...common, 'content-range': `bytes ${first}-${last}/${bytes.length}` }
  return { status: 206, headers: range, body: bytes.subarray(Number(first), Number(last) + 1) }
}

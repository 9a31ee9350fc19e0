import type { IncomingHttpHeaders } from 'node:http'
import { invalidEntityTags } from './errors.ts'

/**
 * The value of `If-Match` or `If-None-Match`: `*`, or the entity tags as they were sent, `W/"weak"`
 * included.
 */
type EntityTags = '*' | readonly string[]

/** The preconditions of a request (RFC 9110 section 13.1). An absent one holds. */
export interface Preconditions {
  readonly ifMatch: EntityTags | undefined
  readonly ifNoneMatch: EntityTags | undefined
}

const NO_PRECONDITIONS: Preconditions = { ifMatch: undefined, ifNoneMatch: undefined }

/**
 * An element of a list: an entity tag with its quotes, or nothing (RFC 9110 sections 8.8.3 and
 * 5.6.1.2).
 */
const LIST_ELEMENT = /[ \t]*(?:((?:W\/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*)?(,|$)/y

/** @throws {HttpError} 400 if the field is not a list of entity tags. */
function readEntityTags(name: string, field: string | undefined): EntityTags | undefined {
  if (field === undefined || field === '*') return field
  const tags: string[] = []
  LIST_ELEMENT.lastIndex = 0
  for (;;) {
    const element = LIST_ELEMENT.exec(field)
    if (element === null) throw invalidEntityTags(name)
    if (element[1] !== undefined) tags.push(element[1])
    if (element[2] === '') return tags
  }
}

/**
 * Reads `If-Match` and `If-None-Match`. `If-Modified-Since` and `If-Unmodified-Since` are ignored
 * because objects have no `Last-Modified`.
 *
 * @returns undefined if the request has neither.
 * @throws {HttpError} 400 if a field is neither `*` nor a list of entity tags.
 */
export function readPreconditions(headers: IncomingHttpHeaders): Preconditions | undefined {
  const ifMatch = readEntityTags('if-match', headers['if-match'])
  const ifNoneMatch = readEntityTags('if-none-match', headers['if-none-match'])
  return ifMatch === undefined && ifNoneMatch === undefined ? undefined : { ifMatch, ifNoneMatch }
}

/**
 * The first precondition that fails for an object, in the order of RFC 9110 section 13.2.2.
 *
 * @param etag the object's strong entity tag, or undefined if there is no object.
 * @returns undefined if all preconditions hold.
 */
export function failing(
  { ifMatch, ifNoneMatch }: Preconditions = NO_PRECONDITIONS,
  etag: string | undefined,
): keyof Preconditions | undefined {
  if (ifMatch !== undefined && !matches(ifMatch, etag)) return 'ifMatch'
  if (ifNoneMatch !== undefined && matches(ifNoneMatch, etag, 'weakly')) return 'ifNoneMatch'
  return undefined
}

/**
 * In strong comparison a weak tag matches nothing. Weak comparison ignores the `W/` (RFC 9110
 * section 8.8.3.2).
 */
function matches(tags: EntityTags, etag: string | undefined, weakly?: 'weakly'): boolean {
  if (etag === undefined) return false
  return tags === '*' || tags.includes(etag) || (weakly !== undefined && tags.includes(`W/${etag}`))
}

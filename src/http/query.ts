import type { TObject } from '@sinclair/typebox'
import type { FastifySchemaCompiler } from 'fastify'
import { invalidParameters, invalidQuery } from './errors.ts'
import { parseParameters } from './parameters.ts'

/**
 * Parameters by name. A parameter that is given several times is an array, which no schema allows.
 */
type Query = Record<string, unknown>

/**
 * The keyword of a schema that only documents and types a part of the request. The route checks
 * that part itself.
 */
export const CHECKED_BY_ROUTE = 'checkedByRoute'

const NONE: Query = {}
const MALFORMED: Query = {}

/**
 * Fastify's `querystringParser`. It must not throw. The validator rejects a malformed query on the
 * routes that have parameters.
 */
export function parseQuery(text: string): Query {
  if (text === '') return NONE
  try {
    decodeURIComponent(text)
  } catch {
    return MALFORMED
  }
  const query: Query = Object.create(null)
  for (const [name, value] of new URLSearchParams(text)) {
    query[name] = name in query ? [query[name], value] : value
  }
  return query
}

/**
 * Fastify's `validatorCompiler`. It reads a route's query parameters by their schema, and its
 * errors are made for clients. It validates nothing else. A schema of another part of the request
 * must have the keyword {@link CHECKED_BY_ROUTE}.
 *
 * @throws {TypeError} at the start if nothing would validate a schema.
 */
export const compileValidator: FastifySchemaCompiler<TObject> = ({ schema, httpPart, method, url }) => {
  if (httpPart !== 'querystring') {
    if (CHECKED_BY_ROUTE in schema) return undefined as never
    throw new TypeError(`${method} ${url}: nothing validates the schema of ${httpPart}`)
  }
  const read = (query: Query) => {
    if (query === MALFORMED) return { error: invalidQuery }
    const result = parseParameters(schema, query)
    return 'wrong' in result ? { error: invalidParameters(result.wrong.values()) } : result
  }
  const none = read(NONE)
  return (query: Query) => (query === NONE ? none : read(query))
}

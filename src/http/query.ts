import type { TObject } from '@sinclair/typebox'
import type { FastifySchemaCompiler } from 'fastify'
import { invalidParameters, invalidQuery } from './errors.ts'
import { parseParameters } from './parameters.ts'

/** Parameters by name; one that comes several times is an array, which no schema here allows. */
type Query = Record<string, unknown>

/** The keyword of a schema that only documents and types a part of the request. The route checks that part itself. */
export const CHECKED_BY_ROUTE = 'checkedByRoute'

const NONE: Query = {}
const MALFORMED: Query = {}

/** Fastify's `querystringParser`, which may not throw: the validator does, on the routes that have parameters. */
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
 * Fastify's `validatorCompiler`: reads a route's query parameters as its schema types them, with the errors that clients
 * are to see. It validates nothing else: a schema of another part of the request must say with {@link CHECKED_BY_ROUTE}
 * that the route checks that part itself.
 *
 * @throws {TypeError} at the start for a schema that nothing would validate.
 */
export const compileValidator: FastifySchemaCompiler<TObject> = ({ schema, httpPart, method, url }) => {
  if (httpPart !== 'querystring') {
    if (CHECKED_BY_ROUTE in schema) return () => true
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

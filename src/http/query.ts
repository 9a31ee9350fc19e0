import type { TObject } from '@sinclair/typebox'
import type { FastifySchemaCompiler } from 'fastify'
import { invalidParameters, invalidQuery } from './errors.ts'
import { parseParameters } from './parameters.ts'

/** Parameters by name; one that comes several times is an array, which no schema here allows. */
type Query = Record<string, unknown>

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
 * are to see. The other parts of a schema are documentation: what checks them is the route's.
 */
export const compileValidator: FastifySchemaCompiler<TObject> = ({ schema, httpPart }) => {
  if (httpPart !== 'querystring') return () => true
  const read = (query: Query) => {
    if (query === MALFORMED) return { error: invalidQuery }
    const result = parseParameters(schema, query)
    return 'wrong' in result ? { error: invalidParameters(result.wrong.values()) } : result
  }
  const none = read(NONE)
  return (query: Query) => (query === NONE ? none : read(query))
}

import swagger, { type SwaggerTransform, type SwaggerTransformObject } from '@fastify/swagger'
import type { TObject } from '@sinclair/typebox'
import type { FastifyPluginAsync, FastifySchema } from 'fastify'
import fp from 'fastify-plugin'
import { failure } from '../http/errors.ts'

const DESCRIPTION = `Stores binary objects under ids.

Every error is JSON that says what is wrong or what is allowed: \`{"error": "not found"}\`. A method that
a path does not support gets 405 with \`Allow\`. OPTIONS gets 204 with \`Allow\`. A request that is not
valid HTTP/1.1 or that arrives too slowly is rejected on every path: it gets 400, 408, 417, 431, 501 or
505, and the connection is closed.`

declare module 'fastify' {
  interface FastifySchema {
    /** OpenAPI's request body. It has its own name, because Fastify parses no body here. */
    requestBody?: { content: Record<string, unknown> }
    /**
     * The `operationId`: a verb and a noun. If the schema of a HEAD had an `operationId`, the swagger
     * plugin would copy the schema before the auth plugin documents the token.
     */
    operation?: string
  }
}

type Paths = Record<string, Record<string, Operation>>

interface Operation {
  requestBody?: { required: boolean }
}

const REQUEST_ID = {
  type: 'string',
  description: 'The X-Request-Id of the request if it is valid, otherwise a new id',
}

const REFUSED = failure('The request is not valid HTTP/1.1, or it arrives too slowly')

/** Describes all answers of an operation. */
function describeAnswers(response: unknown): Record<string, object> {
  const answers = Object.entries(response as Record<string, { headers?: object }>)
  return {
    ...Object.fromEntries(
      answers.map(([status, answer]) => {
        const headers = { ...answer.headers, 'X-Request-Id': REQUEST_ID }
        return [status, { ...answer, headers }]
      }),
    ),
    '4XX': REFUSED,
  }
}

/** Describes a HEAD, which Fastify may have made from a GET: it has its own name and no bodies. */
function describeHead({ operation, summary }: FastifySchema, answers: Record<string, object>) {
  return {
    tags: ['headers'],
    operationId: `${operation}`.replace(/^[a-z]+/, 'head'),
    summary: `${summary}: headers only`,
    response: Object.fromEntries(
      Object.entries(answers).map(([status, answer]) => [
        status,
        { ...answer, type: 'null', content: undefined },
      ]),
    ),
  }
}

/** Describes query parameters: all are optional, because they have defaults, and our messages are left out. */
function describeQuery({ properties, ...querystring }: TObject) {
  const parameters = Object.entries(properties).map(([name, { allowed, ...schema }]) => [name, schema])
  return { ...querystring, required: [], properties: Object.fromEntries(parameters) }
}

const transform: SwaggerTransform = ({ schema = {}, url, route }) => {
  if (schema.hide) return { schema, url }
  const { operation, requestBody, querystring, response, ...rest } = schema
  const answers = describeAnswers(response)
  return {
    url,
    schema: {
      // No token, unless the schema asks for one.
      security: [],
      ...rest,
      operationId: `${operation}`,
      response: answers,
      ...(route.method === 'HEAD' && describeHead(schema, answers)),
      ...(requestBody && { body: requestBody }),
      ...(querystring !== undefined && { querystring: describeQuery(querystring as TObject) }),
    },
  }
}

/** Makes request bodies optional, because an object may be empty. The plugin requires every body. */
const transformObject: SwaggerTransformObject = (document) => {
  const { openapiObject } = document as { openapiObject: { paths: Paths } }
  for (const operation of Object.values(openapiObject.paths).flatMap(Object.values<Operation>))
    if (operation.requestBody) operation.requestBody.required = false
  return openapiObject
}

const plugin: FastifyPluginAsync = async (app) => {
  const { TOKENS, VERSION } = app.config
  await app.register(swagger, {
    exposeHeadRoutes: true,
    convertConstToEnum: false,
    refResolver: { buildLocalReference: ({ $id }) => `${$id}` },
    transform,
    transformObject,
    openapi: {
      openapi: '3.1.1',
      info: {
        title: 'Storage API',
        version: VERSION,
        description: DESCRIPTION,
        license: { name: 'MIT', url: 'https://spdx.org/licenses/MIT' },
      },
      servers: [{ url: '/' }],
      tags: [
        { name: 'buckets', description: 'Store, read, list and delete objects' },
        { name: 'operations', description: 'Metrics, health and this document' },
        { name: 'headers', description: 'HEAD: the headers of a GET, without its body' },
      ],
      components:
        TOKENS.length === 0 ? {} : { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
    },
  })
}

/** Collects the routes that come after it for an OpenAPI document, `app.swagger()`. */
export default fp(plugin, { name: 'openapi', dependencies: ['config'] })

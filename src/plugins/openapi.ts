import swagger, { type SwaggerTransform } from '@fastify/swagger'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'

const DESCRIPTION = `Binary objects under ids.

Every error is JSON, \`{"error": "not found"}\`: what is wrong, and what is allowed. A method that a path does not know is
405 with \`Allow\`; OPTIONS is 204 with the same. What is no request of HTTP/1.1, or comes too slowly, is refused whatever its
path, and its connection is closed: 400, 408, 417, 431, 501 and 505.`

declare module 'fastify' {
  interface FastifySchema {
    /** OpenAPI's, for routes that read the body themselves: to Fastify they have none. */
    requestBody?: { content: Record<string, unknown> }
  }
}

const REQUEST_ID = { type: 'string', description: "The request's, if that is well formed, or a new one" }

/** What all answers have. A HEAD is answered as a GET, without a body. */
function describeAnswers(response: unknown, method: unknown): Record<string, object> {
  const answers = Object.entries(response as Record<string, { headers?: object }>)
  return Object.fromEntries(
    answers.map(([status, answer]) => {
      const headers = { ...answer.headers, 'X-Request-Id': REQUEST_ID }
      return [status, { ...answer, headers, ...(method === 'HEAD' && { type: 'null', content: undefined }) }]
    }),
  )
}

const transform: SwaggerTransform = ({ schema = {}, url, route }) => {
  if (schema.hide) return { schema, url }
  const { requestBody, querystring, response, ...rest } = schema
  return {
    url,
    schema: {
      ...rest,
      response: describeAnswers(response, route.method),
      ...(requestBody && { body: requestBody }),
      // What has a default need not be there.
      ...(querystring !== undefined && { querystring: { ...querystring, required: [] } }),
    },
  }
}

const plugin: FastifyPluginAsync = async (app) => {
  const { TOKENS, VERSION } = app.config
  await app.register(swagger, {
    exposeHeadRoutes: true,
    convertConstToEnum: false,
    refResolver: { buildLocalReference: ({ $id }) => `${$id}` },
    transform,
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
        { name: 'buckets', description: 'Objects' },
        { name: 'operations', description: 'Probes, metrics, and this document' },
      ],
      components:
        TOKENS.length === 0 ? {} : { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
    },
  })
}

/** Collects the routes that come after it for an OpenAPI document, `app.swagger()`. */
export default fp(plugin, { name: 'openapi', dependencies: ['config'] })

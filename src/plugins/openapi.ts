import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'

const DESCRIPTION = `Binary objects under ids.

Every error is JSON, \`{"error": "not found"}\`: what is wrong, and what is allowed. What is no request at all, or
comes too slowly, is answered before a route is known: 400, 408, 417, 431, 501 and 505, and the connection is closed.
A method that a path does not know is 405 with \`Allow\`, and OPTIONS is 204 with the same.`

const plugin: FastifyPluginAsync = async (app) => {
  const { TOKENS, VERSION } = app.config
  await app.register(swagger, {
    exposeHeadRoutes: true,
    convertConstToEnum: false,
    openapi: {
      openapi: '3.1.1',
      info: {
        title: 'Storage API',
        version: VERSION,
        description: DESCRIPTION,
        license: { name: 'MIT', identifier: 'MIT' },
      },
      servers: [{ url: '/' }],
      tags: [
        { name: 'buckets', description: 'Objects' },
        { name: 'operations', description: 'Probes, metrics and this document' },
      ],
      components:
        TOKENS.length === 0 ? {} : { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
    },
  })
  await app.register(swaggerUi, { routePrefix: '/docs' })
  app.get('/openapi.json', { schema: { tags: ['operations'], summary: 'This document' } }, () =>
    app.swagger(),
  )
}

/** Documents the routes that come after it: `/openapi.json`, and `/docs` for people. */
export default fp(plugin, { name: 'openapi', dependencies: ['config'] })

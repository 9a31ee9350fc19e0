import swaggerUi from '@fastify/swagger-ui'
import type { FastifyPluginAsync } from 'fastify'

/** Everything comes from here, and nothing is asked of anybody else; Swagger UI styles its elements. */
const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

const documentSchema = {
  tags: ['operations'],
  summary: 'This document',
  response: {
    200: { description: 'OpenAPI 3.1', content: { 'application/json': { schema: { type: 'object' } } } },
  },
}

/** The OpenAPI document: `/openapi.json` for programs, `/docs` for people. */
const documentation: FastifyPluginAsync = async (app) => {
  app.get('/openapi.json', { schema: documentSchema }, () => app.swagger())

  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: CONTENT_SECURITY_POLICY,
    theme: { title: 'Storage API' },
    uiConfig: { validatorUrl: null },
  })
}

export default documentation

import { createReadStream, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'

const JAVASCRIPT = 'text/javascript; charset=utf-8'
const HTML = 'text/html; charset=utf-8'

/** The files of Swagger UI that the page loads, and their media types. */
const FILES = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': JAVASCRIPT,
  'favicon-32x32.png': 'image/png',
}

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Storage API</title>
<link rel="icon" href="/docs/static/favicon-32x32.png">
<link rel="stylesheet" href="/docs/static/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/static/swagger-ui-bundle.js"></script>
<script src="/docs/static/page.js"></script>
</body>
</html>
`

/** A file, because the page runs no inline script. Swagger UI links the document that it shows. */
const SCRIPT = `SwaggerUIBundle({ dom_id: '#swagger-ui', url: '/openapi.json', deepLinking: true })
`

/** The page loads files from this service alone. Swagger UI styles its elements. */
const PAGE_HEADERS = {
  'content-type': HTML,
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}

const documentSchema = {
  tags: ['operations'],
  operation: 'getDocument',
  summary: 'Read this document',
  response: {
    200: {
      description: 'An OpenAPI 3.1 document',
      content: { 'application/json': { schema: { type: 'object' } } },
    },
  },
}

/** For people, so OpenAPI does not have them. */
const schema = { hide: true }

/** Serves the files of Swagger UI. A file that is missing stops the start. */
function serveFiles(app: FastifyInstance): void {
  const { resolve } = createRequire(import.meta.url)
  for (const [name, type] of Object.entries(FILES)) {
    const path = resolve(`@fastify/swagger-ui/static/${name}`)
    const headers = { 'content-type': type, 'content-length': statSync(path).size }
    app.get(`/docs/static/${name}`, { schema }, (_request, reply) =>
      reply.headers(headers).send(createReadStream(path)),
    )
  }
}

/** The OpenAPI document: `/openapi.json` for programs, `/docs` for people. `/` leads to the page. */
const documentation: FastifyPluginAsync = async (app) => {
  app.get('/openapi.json', { schema: documentSchema }, () => app.swagger())

  // `/` has no content, and the page describes the service: 303 (RFC 9110 section 15.4.4).
  app.get('/', { schema }, (_request, reply) =>
    reply.code(303).headers({ location: '/docs', 'content-type': HTML }).send('<a href="/docs">/docs</a>\n'),
  )
  for (const url of ['/docs', '/docs/'])
    app.get(url, { schema }, (_request, reply) => reply.headers(PAGE_HEADERS).send(PAGE))
  app.get('/docs/static/page.js', { schema }, (_request, reply) =>
    reply.header('content-type', JAVASCRIPT).send(SCRIPT),
  )
  serveFiles(app)
}

export default documentation

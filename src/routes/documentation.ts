import { createReadStream, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'

const CSS = 'text/css; charset=utf-8'
const JAVASCRIPT = 'text/javascript; charset=utf-8'
const HTML = 'text/html; charset=utf-8'

/** The files of Swagger UI that the page loads, and their media types. */
const SWAGGER_FILES = {
  'swagger-ui.css': CSS,
  'swagger-ui-bundle.js': JAVASCRIPT,
}

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Storage API</title>
<link rel="icon" href="/docs/static/icon.svg">
<link rel="stylesheet" href="/docs/static/swagger-ui.css">
<link rel="stylesheet" href="/docs/static/page.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/static/swagger-ui-bundle.js"></script>
<script src="/docs/static/page.js"></script>
</body>
</html>
`

/**
 * A file, because the page runs no inline script. The HEADs are in a group that is closed, unless the
 * address leads to one of them. The colors follow those of the system.
 */
const SCRIPT = `const ui = SwaggerUIBundle({
  dom_id: '#swagger-ui',
  url: '/openapi.json',
  deepLinking: true,
  onComplete() {
    if (!location.hash.startsWith('#/headers')) ui.layoutActions.show(['operations-tag', 'headers'], false)
  },
})
const dark = matchMedia('(prefers-color-scheme: dark)')
const follow = () => document.documentElement.classList.toggle('dark-mode', dark.matches)
dark.addEventListener('change', follow)
follow()
`

/** The icon and the colors of the project. Lists that have one entry, or none, are hidden: servers and links. */
const STYLE = `:root { --accent: #0f766e }
:root.dark-mode { --accent: #5eead4 }
body { margin: 0; border-top: 6px solid var(--accent) }
#swagger-ui .info { margin: 24px 0 }
#swagger-ui .info :is(.title, a, code) { color: var(--accent) }
#swagger-ui .info .title::before { content: url(icon.svg); display: inline-block; width: 36px; margin-right: 12px }
#swagger-ui .scheme-container { margin: 0; padding: 0 0 16px; background: none; box-shadow: none }
#swagger-ui .schemes-server-container { visibility: hidden }
#swagger-ui :is(.scheme-container:not(:has(.auth-wrapper)), .response-col_links) { display: none }
`

const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<path fill="#0f766e" d="M4 8h24l-3 20a9 3 0 0 1-18 0z"/><ellipse fill="#5eead4" cx="16" cy="8" rx="12" ry="4"/>
</svg>
`

/** The other files that the page loads, and their media types. */
const OWN_FILES = {
  'page.js': [JAVASCRIPT, SCRIPT],
  'page.css': [CSS, STYLE],
  'icon.svg': ['image/svg+xml', ICON],
}

/** A browser asks again for the files after an hour, because a release may have changed them. */
const CACHING = { 'cache-control': 'max-age=3600' }

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

/** Serves the files that the page loads. A missing file of Swagger UI stops the start. */
function serveFiles(app: FastifyInstance): void {
  const { resolve } = createRequire(import.meta.url)
  for (const [name, type] of Object.entries(SWAGGER_FILES)) {
    const path = resolve(`@fastify/swagger-ui/static/${name}`)
    const headers = { ...CACHING, 'content-type': type, 'content-length': statSync(path).size }
    app.get(`/docs/static/${name}`, { schema }, (_request, reply) =>
      reply.headers(headers).send(createReadStream(path)),
    )
  }
  for (const [name, [type, text]] of Object.entries(OWN_FILES)) {
    const headers = { ...CACHING, 'content-type': type }
    app.get(`/docs/static/${name}`, { schema }, (_request, reply) => reply.headers(headers).send(text))
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
  serveFiles(app)
}

export default documentation

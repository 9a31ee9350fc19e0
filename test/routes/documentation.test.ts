import type { OutgoingHttpHeaders } from 'node:http'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import v8 from 'node:v8'
import { Ajv2020 } from 'ajv/dist/2020.js'
import t, { type Test } from 'tap'
import { CountedStore } from '../../src/store/counted.ts'
import { type Answer, type App, build, listen, send, until } from '../helper.ts'
import { lacking, outputOf, run } from '../process.ts'

/** The parts of an OpenAPI document that the tests read. */
interface Document {
  openapi: string
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, object>; securitySchemes?: object }
}
interface Operation {
  operationId: string
  summary: string
  security: object[]
  parameters?: { name: string; schema: object }[]
  requestBody?: { required: boolean }
  responses: Record<string, { headers?: Record<string, { schema: object }>; content?: Record<string, Media> }>
}
interface Media {
  schema: object
}

/** A request that leads to a documented response, and its preparation. */
interface Recipe {
  env?: NodeJS.ProcessEnv
  prepare?: (app: App, t: Test) => void | Promise<void>
  path?: string
  headers?: OutgoingHttpHeaders
  body?: Uint8Array
}

const TOKEN = 'the-token'
const EXISTING = '/api/buckets/existing'
const ABSENT = '/api/buckets/absent'

/** Headers of the connection, the framing and the media type, which OpenAPI leaves to HTTP. */
const GENERIC_HEADERS = new Set(['connection', 'content-length', 'content-type', 'date', 'keep-alive'])

/** What a store does in the process. Everything else that it does needs its engine. */
const LOCAL = new Set(['constructor', 'reading', 'reserve', 'release', 'close'])

function failEngine({ store }: App): void {
  const fail = () => {
    throw new Error('engine')
  }
  for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(CountedStore.prototype)))
    if (typeof value === 'function' && !LOCAL.has(name)) Object.assign(store, { [name]: fail })
}

const failure: Recipe = { prepare: failEngine }
const unauthorized: Recipe = { headers: { authorization: 'Bearer wrong' } }
const tooLong: Recipe = { path: `/api/buckets/${'x'.repeat(513)}` }
const malformed: Recipe = { headers: { 'if-match': 'x' } }
const mismatch: Recipe = { headers: { 'if-match': '"x"' } }
const match: Recipe = { headers: { 'if-none-match': '*' } }

const overloaded: Recipe = { prepare: overload }
const refused = { '4XX': { headers: { host: 'a b' } } }
const forAll = { 401: unauthorized, 500: failure, 503: overloaded, ...refused }
const forObjects = { ...forAll, 400: malformed, 412: mismatch, 414: tooLong }
const forReaders = { ...forObjects, 200: {}, 304: match, 404: { path: ABSENT } }
const forListings = { ...forAll, 200: {}, 400: { path: '/api/buckets?limit=x' } }
const RECIPES: Record<string, Record<string, Recipe>> = {
  'put /api/buckets/{id}': {
    ...forObjects,
    201: { path: ABSENT },
    204: {},
    413: { env: { MAX_OBJECT_BYTES: '10' }, body: Buffer.alloc(11) },
    415: { headers: { 'content-encoding': 'gzip' } },
    507: { env: { MAX_STORE_BYTES: '1000' }, body: Buffer.alloc(1000) },
  },
  'get /api/buckets/{id}': {
    ...forReaders,
    206: { headers: { range: 'bytes=0-0' } },
    416: { headers: { range: 'bytes=99-' } },
  },
  'head /api/buckets/{id}': forReaders,
  'delete /api/buckets/{id}': { ...forObjects, 204: {}, 404: { path: ABSENT } },
  'get /api/buckets': forListings,
  'head /api/buckets': forListings,
}
const draining: Recipe = { prepare: (app) => app.lifecycle.drain() }
for (const method of ['get', 'head']) {
  for (const path of ['/metrics', '/livez', '/openapi.json'])
    RECIPES[`${method} ${path}`] = { 200: {}, ...refused }
  RECIPES[`${method} /readyz`] = { 200: {}, 503: draining, ...refused }
}

/** Makes the heap look full, until the end of the test. */
async function overload(app: App, t: Test): Promise<void> {
  const heap = { ...v8.getHeapStatistics(), used_heap_size: Number.POSITIVE_INFINITY }
  const { restore } = t.intercept(v8, 'getHeapStatistics', { value: () => heap })
  syncBuiltinESMExports()
  await until(async () => (await app.inject('/api/buckets/a')).statusCode === 503)
  restore()
  syncBuiltinESMExports()
}

/** The answer to a recipe's request, to an application that has one object. */
async function follow(t: Test, method: string, template: string, recipe: Recipe): Promise<Answer> {
  const app = build(t, { AUTH_TOKENS: TOKEN, ...recipe.env })
  const port = await listen(app)
  const authorization = `Bearer ${TOKEN}`
  await send({ port, path: EXISTING, method: 'PUT', headers: { authorization } }, Buffer.from('x'))
  await recipe.prepare?.(app, t)
  const path = recipe.path ?? template.replace('/api/buckets/{id}', EXISTING)
  return send(
    { port, path, method: method.toUpperCase(), headers: { authorization, ...recipe.headers } },
    recipe.body,
  )
}

const REDOCLY = ['node_modules/.bin/redocly']
const TELEMETRY_OFF = { env: { REDOCLY_TELEMETRY: 'off' } }

/** A program that uses the generated client. The lines that the compiler must reject are marked. */
const CLIENT_PROGRAM = `
import { ApiError, client, deleteObject, getObject, listObjects, putObject } from './client.ts'

export async function run(serverUrl: string, token: string, bytes: Uint8Array<ArrayBuffer>) {
  client.configure({ serverUrl })
  client.auth.bearer(token)
  const path = { id: 'a/b é' }
  await putObject({ path, body: bytes.buffer, query: { ttl: 60 } })
  await putObject({ path: { id: 'empty' } })
  const read: Blob = await getObject({ path })
  const { buckets, next } = await listObjects({ query: { limit: 2 } })
  const listed: { id: string; size: number }[] = buckets.map(({ id, size }) => ({ id, size }))
  await deleteObject({ path })
  const error: unknown = await getObject({ path }).catch((error: unknown) => error)
  if (!(error instanceof ApiError)) throw error
  const failure = [error.status, error.body]
  return { read: new Uint8Array(await read.arrayBuffer()), listed, next, failure }
}

export const wrong = () => [
  // @ts-expect-error: an object has an id
  getObject({ path: {} }),
  // @ts-expect-error: a limit is a number
  listObjects({ query: { limit: 'x' } }),
  // @ts-expect-error: an object is bytes
  putObject({ path: { id: 'a' }, body: { text: 'x' } }),
]
`

const read = async (app: App): Promise<Document> => (await app.inject('/openapi.json')).json()

/** The operations of a document, by method and path. */
const operationsOf = ({ paths }: Document): Record<string, Operation> =>
  Object.fromEntries(
    Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => [`${method} ${path}`, operation]),
    ),
  )

t.test(
  'the document is OpenAPI 3.1 by the recommended rules of Redocly, with tokens and without',
  async (t) => {
    for (const env of [{}, { AUTH_TOKENS: TOKEN }]) {
      const document = await read(build(t, env))
      t.match(document.openapi, /^3\.1\./)
      const directory = t.testdir({ 'openapi.json': JSON.stringify(document) })
      const args = ['lint', join(directory, 'openapi.json'), '--extends=recommended', '--format=json']
      const { stdout } = await run([...REDOCLY, ...args], TELEMETRY_OFF)
      t.strictSame(JSON.parse(stdout).problems, [])
    }
  },
)

t.test('each operation has a name for clients', async (t) => {
  const operations = Object.entries(operationsOf(await read(build(t))))
  t.strictSame(Object.fromEntries(operations.map(([name, { operationId }]) => [name, operationId])), {
    'get /metrics': 'getMetrics',
    'head /metrics': 'headMetrics',
    'get /livez': 'getLiveness',
    'head /livez': 'headLiveness',
    'get /readyz': 'getReadiness',
    'head /readyz': 'headReadiness',
    'get /openapi.json': 'getDocument',
    'head /openapi.json': 'headDocument',
    'get /api/buckets': 'listObjects',
    'head /api/buckets': 'headObjects',
    'get /api/buckets/{id}': 'getObject',
    'head /api/buckets/{id}': 'headObject',
    'put /api/buckets/{id}': 'putObject',
    'delete /api/buckets/{id}': 'deleteObject',
  })
})

t.test('a summary tells one operation from all others, and HEAD says that it has headers only', async (t) => {
  const operations = Object.entries(operationsOf(await read(build(t))))
  t.equal(new Set(operations.map(([, { summary }]) => summary)).size, operations.length)
  for (const [name, { summary }] of operations)
    t.equal(/: headers only$/.test(summary), name.startsWith('head '), name)
})

t.test('the schema of the id allows what the service allows, but for the length in bytes', async (t) => {
  const app = build(t)
  const port = await listen(app)
  const ids = [
    '',
    '.',
    '..',
    '...',
    '.a',
    'a.',
    '__proto__',
    'a/b',
    '%',
    '\ud7ff',
    '\u{10ffff}',
    '\u2028',
    'a\nb',
  ]
  for (let code = 0; code <= 0xff; code++) ids.push(`a${String.fromCharCode(code)}`)
  ids.push('x'.repeat(512), 'x'.repeat(513), '\u{1f600}'.repeat(128))
  const accepted: string[] = []
  for (const id of ids) {
    const { statusCode } = await send({ port, path: `/api/buckets/${encodeURIComponent(id)}` })
    if (statusCode === 404) accepted.push(id)
  }
  for (const [name, { parameters = [] }] of Object.entries(operationsOf(await read(app)))) {
    if (!name.includes('{id}')) continue
    const isAllowed = new Ajv2020().compile(parameters.find(({ name }) => name === 'id')?.schema ?? false)
    t.strictSame(
      ids.filter((id) => isAllowed(id)),
      accepted,
      name,
    )
    t.ok(isAllowed('\u{1f600}'.repeat(512)), 'characters are counted, not bytes')
  }
})

t.test('a PUT needs no body', async (t) => {
  t.equal(operationsOf(await read(build(t)))['put /api/buckets/{id}']?.requestBody?.required, false)
})

t.test('storage asks for a token where there are tokens, and nothing else does', async (t) => {
  const open = await read(build(t))
  for (const [name, { security }] of Object.entries(operationsOf(open))) t.strictSame(security, [], name)
  t.equal(open.components.securitySchemes, undefined)
  const secured = await read(build(t, { AUTH_TOKENS: TOKEN }))
  for (const [name, { security }] of Object.entries(operationsOf(secured)))
    t.strictSame(security, name.includes(' /api/') ? [{ bearer: [] }] : [], name)
  t.strictSame(secured.components.securitySchemes, { bearer: { type: 'http', scheme: 'bearer' } })
})

t.test('every documented answer is given, and as it is documented', async (t) => {
  const document = await read(build(t, { AUTH_TOKENS: TOKEN }))
  const { components } = document
  const operations = operationsOf(document)
  const ajv = new Ajv2020({ strict: false })
  t.strictSame(Object.keys(operations).sort(), Object.keys(RECIPES).sort())
  for (const [operation, { responses }] of Object.entries(operations)) {
    const [method, path] = operation.split(' ') as [string, string]
    const recipes = RECIPES[operation] ?? {}
    t.strictSame(Object.keys(responses), Object.keys(recipes), `the statuses of ${operation}`)
    for (const [status, { headers = {}, content }] of Object.entries(responses)) {
      const answer = await follow(t, method, path, recipes[status] as Recipe)
      const name = `${status} to ${operation}`
      t.match(`${answer.statusCode}`, new RegExp(`^${status.replace('XX', '..')}$`), name)
      const documented = Object.keys(headers).map((header) => header.toLowerCase())
      // Only an object that expires has it.
      const expected = documented.filter((header) => header !== 'expiration')
      const present = Object.keys(answer.headers).filter((header) => !GENERIC_HEADERS.has(header))
      t.strictSame(present.sort(), expected.filter((header) => !GENERIC_HEADERS.has(header)).sort(), name)
      for (const [header, { schema }] of Object.entries(headers)) {
        const value = answer.headers[header.toLowerCase()]
        const isInteger = 'type' in schema && schema.type === 'integer'
        if (value !== undefined) t.ok(ajv.validate(schema, isInteger ? Number(value) : value), header)
      }
      const [type] = (answer.headers['content-type'] ?? '').split(';') as [string]
      if (method === 'head' || content === undefined) {
        t.equal(answer.body.length, 0, name)
      } else if (type === 'application/json') {
        const valid = ajv.compile({ ...content[type]?.schema, components })
        t.ok(valid(JSON.parse(answer.body.toString())), `${name}: ${ajv.errorsText(valid.errors)}`)
      } else {
        t.ok(type in content, `${type} is documented for ${name}`)
      }
    }
  }
})

t.test('a client that is generated from the document stores, reads, lists and deletes objects', async (t) => {
  const app = build(t, { AUTH_TOKENS: TOKEN })
  const directory = t.testdir({
    'openapi.json': JSON.stringify(await read(app)),
    'program.ts': CLIENT_PROGRAM,
    'tsconfig.json': JSON.stringify({
      extends: join(process.cwd(), 'tsconfig.json'),
      compilerOptions: { lib: ['es2024', 'dom'], types: [] },
      include: ['*.ts'],
    }),
  })
  const [document, client] = ['openapi.json', 'client.ts'].map((name) => join(directory, name)) as [
    string,
    string,
  ]
  const args = ['generate-client', document, '--output', client, '--args-style=grouped']
  t.match(await run([...REDOCLY, ...args], TELEMETRY_OFF), { status: 0 })
  // Not node_modules/.bin/tsc: a module without an extension does not load with what tap imports first.
  const tsc = ['node_modules/typescript/lib/tsc.js', '--project', directory, '--pretty', 'false']
  t.match(await run([process.execPath, ...tsc]), { status: 0, stdout: '' })
  const { run: runClient } = await import(join(directory, 'program.ts'))
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i)
  t.strictSame(await runClient(`http://127.0.0.1:${await listen(app)}`, TOKEN, bytes), {
    read: bytes,
    listed: [
      { id: 'a/b é', size: 256 },
      { id: 'empty', size: 0 },
    ],
    next: null,
    failure: [404, { error: 'not found' }],
  })
})

t.test('/ leads to the page of the document', async (t) => {
  const port = await listen(build(t))
  for (const path of ['/', '/?q=1']) {
    for (const method of ['GET', 'HEAD']) {
      const { statusCode, headers, body } = await send({ port, path, method })
      t.equal(statusCode, 303)
      t.equal(headers.location, '/docs')
      t.equal(`${body}`, method === 'GET' ? '<a href="/docs">/docs</a>\n' : '')
    }
  }
})

t.test('under /docs there is the page with its files, and nothing else', async (t) => {
  const port = await listen(build(t))
  const page = await send({ port, path: '/docs' })
  t.strictSame((await send({ port, path: '/docs/' })).body, page.body)
  const files = [...`${page.body}`.matchAll(/(?:href|src)="([^"]*)"/g)].map(([, path]) => `${path}`)
  t.strictSame(
    files.filter((path) => !path.startsWith('/docs/static/')),
    [],
  )
  for (const path of files) {
    const { statusCode, headers, body } = await send({ port, path })
    t.equal(statusCode, 200, path)
    t.equal(headers['content-length'], `${body.length}`)
    const head = await send({ port, path, method: 'HEAD' })
    t.match(head, { statusCode: 200, headers: { 'content-length': headers['content-length'] } })
    t.equal(head.body.length, 0)
  }
  const others = ['/docs/json', '/docs/yaml', '/docs/nothing', '/docs/docs', '/docs/static', '/docs/static/']
  others.push(
    ...[
      'index.html',
      'oauth2-redirect.html',
      'logo.svg',
      'none',
      '%00',
      '/swagger-ui.css',
      '..%2fpackage.json',
    ].map((name) => `/docs/static/${name}`),
  )
  for (const path of others) {
    const { statusCode, body } = await send({ port, path })
    t.equal(statusCode, 404, path)
    t.strictSame(JSON.parse(`${body}`), { error: 'not found' })
  }
})

t.test('a browser keeps the files of the page for an hour', async (t) => {
  const app = build(t)
  for (const [, url = ''] of (await app.inject('/docs')).body.matchAll(/(?:href|src)="([^"]*)"/g))
    t.equal((await app.inject(url)).headers['cache-control'], 'max-age=3600', url)
})

/** The page in a browser: its elements after its scripts have run. */
const browse = (url: string, ...options: string[]) =>
  outputOf([
    ...['chromium', '--headless', '--no-sandbox', '--disable-gpu', '--virtual-time-budget=15000'],
    ...[...options, '--dump-dom', url],
  ])

const DARK = '--blink-settings=preferredColorScheme=0'

/** The operations that the page shows, in their order: `get /livez`. */
const shown = (page: string) =>
  [...page.matchAll(/opblock-summary-method">(\w+)<.*?data-path="([^"]*)"/g)].map(
    ([, method, path]) => `${method?.toLowerCase()} ${path}`,
  )

t.test('the page of the document, in a browser', { skip: lacking('chromium') }, async (t) => {
  const app = build(t)
  const url = `http://127.0.0.1:${await listen(app)}/docs`
  const page = await browse(url)
  const operations = Object.keys(operationsOf(await read(app)))

  t.test('it has the name and the icon of the project, and no logo of a framework', async (t) => {
    t.match(page, /<title>Storage API<\/title>/)
    t.match(page, /<h1 class="title">Storage API</)
    t.match(page, /<link rel="icon" href="\/docs\/static\/icon.svg">/)
    t.notMatch(page, /topbar|fastify|favicon/i)
  })

  t.test('it shows every operation, those of objects first, and HEADs in a closed group', async (t) => {
    const isHead = (name: string) => name.startsWith('head ')
    t.strictSame(shown(page).sort(), operations.filter((name) => !isHead(name)).sort())
    t.match(shown(page)[0], '/api/buckets')
    t.match(page, /data-tag="headers" data-is-open="false"/)
    const opened = shown(await browse(`${url}#/headers`))
    t.strictSame(opened.sort(), operations.sort(), 'an address opens the group')
  })

  t.test('it follows the color scheme of the system', async (t) => {
    t.notMatch(page, /<html[^>]*dark-mode/)
    t.match(await browse(url, DARK), /<html[^>]*dark-mode/)
  })

  t.test('it links the document, and asks nobody else for anything', async (t) => {
    t.match(page, /<a [^>]*href="[^"]*\/openapi\.json"/)
    t.match((await app.inject('/docs')).headers, { 'content-security-policy': /^default-src 'none'; / })
  })
})

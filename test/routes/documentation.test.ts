import { type ExecFileException, execFile } from 'node:child_process'
import type { OutgoingHttpHeaders } from 'node:http'
import { syncBuiltinESMExports } from 'node:module'
import v8 from 'node:v8'
import { Validator } from '@seriousme/openapi-schema-validator'
import { Ajv2020 } from 'ajv/dist/2020.js'
import t, { type Test } from 'tap'
import { type Answer, type App, build, listen, send, until } from '../helper.ts'

/** As much of an OpenAPI document as is looked at here. */
interface Document {
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, object>; securitySchemes?: object }
}
interface Operation {
  security?: object[]
  responses: Record<string, { headers?: Record<string, { schema: object }>; content?: Record<string, Media> }>
}
interface Media {
  schema: object
}

/** A request that is answered as documented, and what has to be so before it. */
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

function failEngine(app: App): void {
  const fail = () => {
    throw new Error('engine')
  }
  Object.assign(app.store, { get: fail, describe: fail, put: fail, delete: fail, list: fail })
}

const failure: Recipe = { prepare: failEngine }
const unauthorized: Recipe = { headers: { authorization: 'Bearer wrong' } }
const tooLong: Recipe = { path: `/api/buckets/${'x'.repeat(513)}` }
const malformed: Recipe = { headers: { 'if-match': 'x' } }
const mismatch: Recipe = { headers: { 'if-match': '"x"' } }
const match: Recipe = { headers: { 'if-none-match': '*' } }

const overloaded: Recipe = { prepare: overload }
const forAll = { 401: unauthorized, 500: failure, 503: overloaded }
const forObjects = { ...forAll, 400: malformed, 412: mismatch, 414: tooLong }
const forReaders = { ...forObjects, 200: {}, 304: match, 404: { path: ABSENT } }
const forListings = { ...forAll, 200: {}, 400: { path: '/api/buckets?limit=x' } }
const RECIPES: Record<string, Record<number, Recipe>> = {
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
  for (const path of ['/metrics', '/livez', '/openapi.json']) RECIPES[`${method} ${path}`] = { 200: {} }
  RECIPES[`${method} /readyz`] = { 200: {}, 503: draining }
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

/** Runs a program to its end. */
function run(program: string, args: string[]) {
  return new Promise<{ error: ExecFileException | null; stdout: string }>((resolve) => {
    execFile(program, args, { timeout: 60_000 }, (error, stdout) => resolve({ error, stdout }))
  })
}

const read = async (app: App): Promise<Document> => (await app.inject('/openapi.json')).json()

t.test('the document is valid OpenAPI 3.1, with tokens and without', async (t) => {
  for (const env of [{}, { AUTH_TOKENS: TOKEN }]) {
    const validator = new Validator()
    t.match(await validator.validate({ ...(await read(build(t, env))) }), { valid: true })
    t.equal(validator.version, '3.1')
  }
})

t.test('storage asks for a token where there are tokens, and nothing else does', async (t) => {
  const securedPaths = ({ paths }: Document) =>
    Object.keys(paths).filter((path) => Object.values(paths[path] ?? {}).some(({ security }) => security))
  const open = await read(build(t))
  t.strictSame(securedPaths(open), [])
  t.equal(open.components.securitySchemes, undefined)
  const secured = await read(build(t, { AUTH_TOKENS: TOKEN }))
  t.strictSame(securedPaths(secured), ['/api/buckets', '/api/buckets/{id}'])
  t.strictSame(secured.components.securitySchemes, { bearer: { type: 'http', scheme: 'bearer' } })
})

t.test('every documented answer is given, and as it is documented', async (t) => {
  const { paths, components } = await read(build(t, { AUTH_TOKENS: TOKEN }))
  const ajv = new Ajv2020({ strict: false })
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { responses }]) => ({ path, method, responses })),
  )
  t.strictSame(operations.map(({ method, path }) => `${method} ${path}`).sort(), Object.keys(RECIPES).sort())
  for (const { path, method, responses } of operations) {
    const recipes = RECIPES[`${method} ${path}`] ?? {}
    t.strictSame(Object.keys(responses), Object.keys(recipes), `the statuses of ${method} ${path}`)
    for (const [status, { headers = {}, content }] of Object.entries(responses)) {
      const answer = await follow(t, method, path, recipes[Number(status)] as Recipe)
      const name = `${status} to ${method} ${path}`
      t.equal(answer.statusCode, Number(status), name)
      const documented = Object.keys(headers).map((header) => header.toLowerCase())
      // It is there only where an object has an end.
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

t.test('the page of the document shows every operation, and asks nobody else for anything', async (t) => {
  const app = build(t)
  const url = `http://127.0.0.1:${await listen(app)}/docs`
  const args = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--virtual-time-budget=15000',
    '--dump-dom',
    url,
  ]
  const { error, stdout } = await run('chromium', args)
  if (error?.code === 'ENOENT' && process.env.CI === undefined) return t.comment('skipped: no chromium')
  const shown = [...stdout.matchAll(/opblock-summary-method">(\w+)<.*?data-path="([^"]*)"/g)]
  const { paths } = await read(app)
  t.strictSame(
    shown.map(([, method, path]) => `${method?.toLowerCase()} ${path}`).sort(),
    Object.entries(paths)
      .flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method} ${path}`))
      .sort(),
  )
  t.match((await app.inject('/docs')).headers, { 'content-security-policy': /^default-src 'none'; / })
})

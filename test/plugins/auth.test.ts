import t from 'tap'
import { build, listen, requestCount, scrape, send } from '../helper.ts'

const PATH = '/api/buckets/a'
const ERROR = { error: 'authorization must be bearer with a valid token' }

t.test('without tokens storage is open', async (t) => {
  const app = build(t)
  t.equal((await app.inject({ method: 'PUT', url: PATH, payload: 'x' })).statusCode, 201)
  const headers = { authorization: 'Bearer whatever' }
  t.equal((await app.inject({ url: PATH, headers })).statusCode, 200)
})

t.test('with tokens storage takes each of them, and the scheme in any case', async (t) => {
  const app = build(t, { AUTH_TOKENS: 'old-token,n3w.token~+/==' })
  await app.inject({ method: 'PUT', url: PATH, headers: { authorization: 'Bearer old-token' } })
  for (const authorization of [
    'Bearer old-token',
    'Bearer n3w.token~+/==',
    'bearer old-token',
    'BEARER  old-token ',
  ]) {
    t.equal((await app.inject({ url: PATH, headers: { authorization } })).statusCode, 200, authorization)
  }
})

t.test('any other request for storage is 401, whatever it asks, and changes nothing', async (t) => {
  const app = build(t, { AUTH_TOKENS: 'token another' })
  const authorization = 'Bearer token'
  await app.inject({ method: 'PUT', url: PATH, payload: 'kept', headers: { authorization } })
  const port = await listen(app)
  const wrong = [
    '',
    'token',
    'Bearer',
    'Bearer ',
    'Bearer toke',
    'Bearer tokenx',
    'Bearer token another',
    'Basic token',
    'Bearer Token',
  ]
  for (const authorization of wrong) {
    const { statusCode, headers, body } = await send({ port, path: PATH, headers: { authorization } })
    t.equal(statusCode, 401, authorization)
    t.equal(headers['www-authenticate'], 'Bearer')
    t.strictSame(JSON.parse(body.toString()), ERROR)
  }
  const paths = [
    PATH,
    '/%61pi/buckets/a',
    `http://other${PATH}`,
    '/api/buckets',
    '/api/buckets/',
    '/api/buckets/%00',
  ]
  for (const path of paths) {
    for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'POST', 'OPTIONS']) {
      t.equal((await send({ port, path, method }, Buffer.from('x'))).statusCode, 401, `${method} ${path}`)
    }
  }
  t.equal((await app.inject({ url: PATH, headers: { authorization } })).payload, 'kept')
  t.equal((await scrape(app))[requestCount('PUT', '/api/buckets/:id', 401)], 5)
})

t.test('a path that does not exist is 404, with tokens and without one in the request', async (t) => {
  const app = build(t, { AUTH_TOKENS: 'token' })
  for (const url of ['/api', '/api/', '/api/nothing', '/api/buckets/a/b'])
    t.equal((await app.inject(url)).statusCode, 404, url)
})

t.test('probes, metrics and documentation need no token', async (t) => {
  const app = build(t, { AUTH_TOKENS: 'token' })
  for (const url of ['/livez', '/readyz', '/metrics', '/openapi.json', '/docs', '/docs/static/page.js']) {
    t.equal((await app.inject(url)).statusCode, 200, url)
  }
})

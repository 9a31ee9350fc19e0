import Fastify from 'fastify'
import t from 'tap'
import errors from '../../src/plugins/errors.ts'
import methods from '../../src/plugins/methods.ts'
import { build, listen, send } from '../helper.ts'

/** Every path, and its methods. */
const PATHS = {
  '/': 'GET, HEAD, OPTIONS',
  '/api/buckets/a': 'DELETE, GET, HEAD, OPTIONS, PUT',
  '/livez': 'GET, HEAD, OPTIONS',
  '/readyz': 'GET, HEAD, OPTIONS',
  '/metrics': 'GET, HEAD, OPTIONS',
  '/openapi.json': 'GET, HEAD, OPTIONS',
  '/api/buckets': 'GET, HEAD, OPTIONS',
  '/docs': 'GET, HEAD, OPTIONS',
  '/docs/': 'GET, HEAD, OPTIONS',
  '/docs/static/swagger-ui.css': 'GET, HEAD, OPTIONS',
}

t.test('a method that a path does not know is 405, with Allow', async (t) => {
  const port = await listen(build(t))
  for (const [path, allow] of Object.entries(PATHS)) {
    for (const method of ['POST', 'PATCH', 'TRACE', 'QUERY', 'PROPFIND', 'PURGE', 'M-SEARCH']) {
      if (allow.split(', ').includes(method)) continue
      const { statusCode, headers, body } = await send({ port, path, method }, Buffer.from('{"ignored'))
      t.equal(statusCode, 405, `${method} ${path}`)
      t.equal(headers.allow, allow)
      t.strictSame(JSON.parse(body.toString()), { error: `method not allowed: use ${allow.toLowerCase()}` })
    }
  }
})

t.test('a route that answerOtherMethods does not see stops the start', async (t) => {
  const late = build(t)
  late.register(async (scope) => void scope.get('/late', () => ''))
  await t.rejects(async () => void (await late.ready()), {
    message: '/late must be registered before answerOtherMethods is called',
  })

  const forgotten = Fastify()
  t.after(() => forgotten.close())
  forgotten.register(errors)
  forgotten.register(methods)
  await t.rejects(async () => void (await forgotten.ready()), {
    message: 'answerOtherMethods must be called after the last route',
  })
})

t.test('OPTIONS is 204, with Allow', async (t) => {
  const port = await listen(build(t))
  for (const [path, allow] of Object.entries(PATHS)) {
    const { statusCode, headers } = await send({ port, path, method: 'OPTIONS' })
    t.equal(statusCode, 204)
    t.equal(headers.allow, allow)
  }
})

t.test('OPTIONS * is 204, with the methods that any path knows; any other method on * is 404', async (t) => {
  const port = await listen(build(t))
  const options = await send({ port, path: '*', method: 'OPTIONS' })
  t.equal(options.statusCode, 204)
  const known = new Set(Object.values(PATHS).flatMap((allow) => allow.split(', ')))
  t.equal(options.headers.allow, [...known].sort().join(', '))
  t.equal((await send({ port, path: '*' })).statusCode, 404)
})

t.test('a path that does not exist is 404 by any method', async (t) => {
  const port = await listen(build(t))
  for (const path of ['//', '/api', '/api/buckets/a/b', '/LIVEZ', '/livez/']) {
    for (const method of ['GET', 'PUT', 'OPTIONS', 'PROPFIND']) {
      const { statusCode, body } = await send({ port, path, method }, Buffer.from('ignored'))
      t.equal(statusCode, 404, `${method} ${path}`)
      t.strictSame(JSON.parse(body.toString()), { error: 'not found' })
    }
  }
})

import t from 'tap'
import * as errors from '../../src/http/errors.ts'
import { HttpError } from '../../src/http/errors.ts'
import { build } from '../helper.ts'

t.test('a failure is 500 and says nothing of its cause, which is logged', async (t) => {
  const lines: Record<string, unknown>[] = []
  const app = build(t, { LOG_LEVEL: 'warn' }, lines)
  await app.ready()
  t.intercept(app.store, 'get', {
    value: () => {
      throw new Error('secret')
    },
  })
  t.intercept(app.store, 'delete', { value: () => Promise.reject(new Error('secret')) })
  for (const method of ['GET', 'DELETE'] as const) {
    const answer = await app.inject({ method, url: '/api/buckets/a' })
    t.equal(answer.statusCode, 500)
    t.strictSame(answer.json(), { error: 'internal server error' })
    t.match(lines.pop(), {
      level: 'error',
      reqId: answer.headers['x-request-id'],
      err: { message: 'secret' },
      msg: 'request failed',
    })
  }
})

t.test('refusals that are 5xx are logged, but not each of them', async (t) => {
  const lines: Record<string, unknown>[] = []
  const app = build(t, { LOG_LEVEL: 'warn', MAX_STORE_BYTES: '10' }, lines)
  for (let i = 0; i < 10; i++) {
    const { statusCode } = await app.inject({ method: 'PUT', url: '/api/buckets/a', payload: 'x'.repeat(11) })
    t.equal(statusCode, 507)
  }
  t.match(lines, [{ level: 'warn', statusCode: 507, msg: /^store full/ }])
  t.equal(lines.length, 1)
})

t.test("another library's refusal keeps its status code, but not its words", async (t) => {
  const app = build(t)
  app.get('/teapot', () => {
    throw Object.assign(new Error('the words of the request'), { statusCode: 418 })
  })
  const answer = await app.inject('/teapot')
  t.equal(answer.statusCode, 418)
  t.strictSame(answer.json(), { error: "i'm a teapot" })
})

t.test('what the client is told is in lower case', async (t) => {
  const messages = Object.values(errors)
    .map((make) =>
      typeof make === 'function' && !make.prototype ? (make as (argument: string) => unknown)('x') : make,
    )
    .filter((made) => made instanceof HttpError)
    .map(({ message }) => message)
  t.ok(messages.length > 10)
  t.strictSame(
    messages,
    messages.map((message) => message.toLowerCase()),
  )
})

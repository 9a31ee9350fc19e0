import t from 'tap'
import * as errors from '../../src/errors.ts'
import { HttpError } from '../../src/errors.ts'
import { build } from '../helper.ts'

t.test('a failure is 500 and says nothing of its cause, which is logged', async (t) => {
  const lines: string[] = []
  const app = build(t, {}, { level: 'info', stream: { write: (line) => void lines.push(line) } })
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
    t.match(JSON.parse(lines.pop() as string), {
      level: 50,
      err: { message: 'secret' },
      msg: 'request failed',
    })
  }
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
    .filter((make) => typeof make === 'function' && !make.prototype)
    .map((make) => (make as (argument: string) => unknown)('x'))
    .filter((made) => made instanceof HttpError)
    .map(({ message }) => message)
  t.ok(messages.length > 10)
  t.strictSame(
    messages,
    messages.map((message) => message.toLowerCase()),
  )
})

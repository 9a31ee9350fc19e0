import t from 'tap'
import { build } from '../helper.ts'

t.test('a process that runs is alive and ready', async (t) => {
  const app = build(t)
  for (const url of ['/livez', '/readyz']) {
    for (const method of ['GET', 'HEAD'] as const) {
      t.equal((await app.inject({ method, url })).statusCode, 200, `${method} ${url}`)
    }
    t.strictSame((await app.inject(url)).json(), { status: 'ok' })
  }
})

t.test('neither probe asks the engine', async (t) => {
  const app = build(t)
  await app.ready()
  for (const method of ['get', 'put', 'delete', 'stats'] as const) {
    t.intercept(app.store, method, { value: () => Promise.reject(new Error('asked')) })
  }
  for (const url of ['/livez', '/readyz']) t.equal((await app.inject(url)).statusCode, 200)
})

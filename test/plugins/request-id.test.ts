import t from 'tap'
import { build } from '../helper.ts'

const OUR_ID = /^[\w-]{12}-\d+$/

t.test('each answer has the id of its request, another one each time', async (t) => {
  const app = build(t)
  const ids = new Set<unknown>()
  for (const url of ['/livez', '/metrics', '/api/buckets/a', '/nowhere', '/docs']) {
    for (const method of ['GET', 'POST'] as const) {
      const id = (await app.inject({ method, url })).headers['x-request-id']
      t.match(id, OUR_ID, `${method} ${url}`)
      ids.add(id)
    }
  }
  t.equal(ids.size, 10)
})

t.test('an id that the client gives is kept if it is well formed, and in the log', async (t) => {
  const lines: Record<string, unknown>[] = []
  const app = build(t, { LOG_LEVEL: 'debug' }, lines)
  const answered = async (given: string) =>
    (await app.inject({ url: '/livez', headers: { 'x-request-id': given } })).headers['x-request-id']
  for (const id of ['a', '0b1c-2d.e_f~9', 'x'.repeat(128)]) {
    t.equal(await answered(id), id)
    t.equal(lines.at(-1)?.reqId, id)
  }
  for (const id of ['', 'a b', 'a,b', '"a"', 'é', 'x'.repeat(129), 'a\tb', '%24{x}']) {
    t.match(await answered(id), OUR_ID, JSON.stringify(id))
  }
})

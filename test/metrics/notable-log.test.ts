import t from 'tap'
import { build, until } from '../helper.ts'

interface Line {
  msg: string
  eventLoopDelayMs: number
  answers: { reqId: string; durationMs: number }[]
}

/** The lines about exemplars. */
const notable = (lines: unknown[]) => (lines as Line[]).filter(({ msg }) => msg === 'slow or failed answers')

t.test('each exemplar leads to a line with the route, the duration and the event loop delay', async (t) => {
  const lines: Record<string, unknown>[] = []
  const app = build(t, { LOG_LEVEL: 'info', FAULTS: 'DELETE=500@1,GET=delay:20ms@1' }, lines)
  for (const method of ['PUT', 'GET', 'DELETE'] as const)
    await app.inject({ method, url: '/api/buckets/a', headers: { 'x-request-id': method } })
  const answers = () =>
    new Map(notable(lines).flatMap(({ answers }) => answers.map((answer) => [answer.reqId, answer])))
  await until(() => answers().has('DELETE'))
  const headers = { accept: 'application/openmetrics-text' }
  const { payload } = await app.inject({ url: '/metrics', headers })
  const ids = [...payload.matchAll(/ # \{request_id="([^"]+)"\}/g)].map(([, id]) => id)
  for (const id of ['GET', 'DELETE']) t.ok(ids.includes(id), id)
  t.strictSame(new Set(answers().keys()), new Set(ids), 'the PUT too, if it was slow')
  t.match(notable(lines)[0], { level: 'info', eventLoopDelayMs: Number })
  t.match(answers().get('GET'), { method: 'GET', path: '/api/buckets/:id', statusCode: 200 })
  t.ok((answers().get('GET')?.durationMs ?? 0) >= 19)
  t.match(answers().get('DELETE'), {
    method: 'DELETE',
    statusCode: 500,
    durationMs: Number,
    cause: 'fault injected: DELETE=500@1',
  })
})

t.test(
  'the line of a refusal has its cause, though the log of refusals has one line per minute',
  async (t) => {
    const lines: Record<string, unknown>[] = []
    const app = build(t, { LOG_LEVEL: 'info', MAX_STORE_BYTES: '1' }, lines)
    for (const id of ['first', 'second'])
      await app.inject({
        method: 'PUT',
        url: '/api/buckets/a',
        headers: { 'x-request-id': id },
        payload: 'x',
      })
    await app.close()
    const [second] = notable(lines).flatMap(({ answers }) =>
      answers.filter(({ reqId }) => reqId === 'second'),
    )
    t.match(second, { statusCode: 507, cause: 'store full: delete objects or store smaller ones' })
  },
)

t.test('there is one line per second at most, and one at the end for what is left', async (t) => {
  const begun = performance.now()
  const lines: Record<string, unknown>[] = []
  const app = build(t, { LOG_LEVEL: 'info', FAULTS: '*=500@1' }, lines)
  const fail = (id: string) =>
    app.inject({ method: 'PUT', url: '/api/buckets/a', headers: { 'x-request-id': id } })
  await until(async () => {
    await fail('a')
    return notable(lines).length > 1
  })
  t.ok(notable(lines).length <= (performance.now() - begun) / 1000)
  await fail('last')
  await app.close()
  t.ok(
    notable(lines)
      .at(-1)
      ?.answers.some(({ reqId }) => reqId === 'last'),
  )
})

t.test('the delay of the event loop is in the line of each answer that it made wait', async (t) => {
  const lines: Record<string, unknown>[] = []
  const app = build(t, { LOG_LEVEL: 'info' }, lines)
  app.get('/late', async () => {
    const end = performance.now() + 1050
    while (performance.now() < end);
    return 'late'
  })
  app.get('/failed', (_request, reply) => reply.code(500).send())
  for (let count = 1; count <= 4; count++) {
    await app.inject('/late')
    await until(() => notable(lines).length >= count)
  }
  // Before the first the process has just started.
  for (const { eventLoopDelayMs } of notable(lines).slice(1)) t.ok(eventLoopDelayMs >= 1000)
  await until(async () => {
    await app.inject('/failed')
    return (notable(lines).at(-1)?.eventLoopDelayMs ?? 1000) < 1000
  })
})

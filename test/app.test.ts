import { once } from 'node:events'
import { connect } from 'node:net'
import { Type } from '@sinclair/typebox'
import t from 'tap'
import { build, listen, refusal, send, until } from './helper.ts'

const SECOND = '1'

t.test(
  'headers and bodies that come too slowly are 408, after the time that the settings give',
  async (t) => {
    const cases: [NodeJS.ProcessEnv, string][] = [
      [{ HEADERS_TIMEOUT_SECONDS: SECOND }, 'GET /livez HTTP/1.1\r\nHost: a\r\nX: '],
      [
        { REQUEST_TIMEOUT_SECONDS: SECOND },
        'PUT /api/buckets/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n',
      ],
    ]
    await Promise.all(
      cases.map(async ([env, begun]) => {
        const socket = connect(await listen(build(t, env)), '127.0.0.1')
        socket.write(begun)
        // It makes progress, but slowly.
        const dripping = setInterval(() => socket.write('x'), 50)
        const started = performance.now()
        let answer = ''
        for await (const chunk of socket) answer += chunk
        clearInterval(dripping)
        t.strictSame(refusal(answer), ['HTTP/1.1 408 Request Timeout', 'request not received in time'])
        t.ok(performance.now() - started > 950)
      }),
    )
  },
)

t.test('a connection that does nothing is closed, within a request or between two', async (t) => {
  const cases: [NodeJS.ProcessEnv, string][] = [
    [{ KEEP_ALIVE_SECONDS: SECOND }, 'GET /livez HTTP/1.1\r\nHost: a\r\n\r\n'],
    [
      { STALL_TIMEOUT_SECONDS: SECOND },
      'PUT /api/buckets/a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx',
    ],
    [{ HEADERS_TIMEOUT_SECONDS: SECOND }, ''],
  ]
  await Promise.all(
    cases.map(async ([env, begun]) => {
      const app = build(t, env)
      const socket = connect(await listen(app), '127.0.0.1').resume()
      socket.write(begun)
      await once(socket, 'close')
      await until(() => app.connections.replies().length === 0)
    }),
  )
})

t.test('a schema that nothing validates stops the start', async (t) => {
  const schema = Type.Object({ a: Type.String() })
  for (const part of ['headers', 'params', 'body']) {
    const app = build(t)
    app.put('/:a', { schema: { [part]: schema } }, () => '')
    await t.rejects(async () => void (await app.ready()), {
      message: new RegExp(`PUT /:a: nothing validates the schema of ${part}`),
    })
  }
})

t.test('a client is told how long its idle connection stays', async (t) => {
  const port = await listen(build(t, { KEEP_ALIVE_SECONDS: '7' }))
  const { headers } = await send({ port, path: '/livez', headers: { connection: 'keep-alive' } })
  t.equal(headers['keep-alive'], 'timeout=7')
})

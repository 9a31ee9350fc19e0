import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { connect } from 'node:net'
import t from 'tap'
import { build, listen, send, until } from '../helper.ts'

t.test(
  'while draining, readiness is 503, liveness is 200 and every answer closes its connection',
  async (t) => {
    const app = build(t)
    const port = await listen(app)
    const agent = new Agent({ keepAlive: true })
    t.after(() => agent.destroy())
    t.equal((await send({ port, path: '/readyz', agent })).headers.connection, 'keep-alive')

    const headers = { 'content-length': 4 }
    const upload = request({ host: '127.0.0.1', port, path: '/api/buckets/a', method: 'PUT', headers, agent })
    upload.write('ha')
    await until(() => app.connections.replies().length === 1)
    app.lifecycle.drain()

    const answers: [string, number][] = [
      ['/readyz', 503],
      ['/livez', 200],
      ['/metrics', 200],
      ['/api/buckets/a', 404],
      ['/nowhere', 404],
      ['/%zz', 400],
    ]
    for (const [path, expected] of answers) {
      const { statusCode, headers } = await send({ port, path, agent })
      t.equal(statusCode, expected, path)
      t.equal(headers.connection, 'close', path)
    }
    t.strictSame(JSON.parse((await send({ port, path: '/readyz' })).body.toString()), {
      error: 'shutting down',
    })

    upload.end('lf')
    const [{ statusCode, headers: uploaded }] = await once(upload, 'response')
    t.equal(statusCode, 201, 'what was under way is finished')
    t.equal(uploaded.connection, 'close')
  },
)

t.test('an answer that is still being read when the listening ends is finished', async (t) => {
  const app = build(t, { MAX_OBJECT_BYTES: '100000000' })
  const port = await listen(app)
  await send({ port, path: '/api/buckets/large', method: 'PUT' }, Buffer.alloc(50_000_000))
  const download = request({ host: '127.0.0.1', port, path: '/api/buckets/large', agent: false }).end()
  const [response] = await once(download, 'response')
  app.lifecycle.drain()
  const closed = app.close()
  await until(() => !app.server.listening)
  let bytes = 0
  for await (const chunk of response) bytes += chunk.length
  t.equal(bytes, 50_000_000)
  await closed
})

t.test('closing loses no request: each is answered, or its connection is refused', async (t) => {
  const app = build(t)
  const port = await listen(app)
  let answers = 0
  const clients = Array.from({ length: 64 }, async () => {
    while (true) {
      const statusCode = await send({ port, path: '/livez' }).then(
        (answer) => answer.statusCode,
        (error) => error.code,
      )
      if (statusCode === 'ECONNREFUSED') return 'refused'
      if (statusCode !== 200) return statusCode
      answers++
    }
  })
  await until(() => answers > 200)
  app.lifecycle.drain()
  await app.close()
  t.strictSame(await Promise.all(clients), Array(64).fill('refused'))
})

t.test('closing ends the connections that send no request, and finishes those that do', async (t) => {
  const app = build(t)
  const port = await listen(app)
  const idle = connect(port, '127.0.0.1').resume()
  const slow = connect(port, '127.0.0.1').resume()
  slow.write('GET /livez HTTP/1.1\r\n')
  const headers = { 'content-length': 4 }
  const upload = request({ host: '127.0.0.1', port, path: '/api/buckets/a', method: 'PUT', headers })
  upload.write('ha')
  await until(() => app.connections.replies().length === 1)
  const ended = Promise.all([once(idle, 'close'), once(slow, 'close')])
  const closed = app.close()
  await ended
  upload.end('lf')
  const [{ statusCode }] = await once(upload, 'response')
  t.equal(statusCode, 201)
  await closed
})

import { once } from 'node:events'
import { type ClientRequest, createServer, request } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { networkInterfaces } from 'node:os'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { send, until } from './helper.ts'
import { start as startProgram, stop } from './process.ts'

/** A log line of the process, or its output before it has a logger. */
type Line = Record<string, unknown> & { msg?: string }

/** Starts the service as a process, on a free port, and stops it after the test. */
function start(t: Test, env: Record<string, string> = {}, args: string[] = [], maxFiles = 1000) {
  const command = `ulimit -n ${maxFiles} && exec "$0" "$@"`
  const child = startProgram(['sh', '-c', command, process.execPath, ...args, 'src/server.ts'], {
    env: { HOST: '127.0.0.1', PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    isCovered: true,
  })
  t.after(() => stop(child))
  const lines: Line[] = []
  if (child.stdout === null || child.stderr === null) throw new Error('no pipes')
  createInterface(child.stdout).on('line', (line) => lines.push(JSON.parse(line)))
  let stderr = ''
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  const logged = async (msg: string): Promise<Line> => {
    await until(() => lines.some((line) => line.msg === msg))
    return lines.find((line) => line.msg === msg) as Line
  }
  return {
    child,
    lines,
    logged,
    port: async () => ((await logged('listening')).address as AddressInfo).port,
    exit: once(child, 'close').then(([code]) => ({ code, stderr })),
  }
}

/** An upload whose first half has arrived: `ha` of `half`. */
async function beginUpload(port: number): Promise<ClientRequest> {
  const headers = { 'content-length': 4 }
  const upload = request({ host: '127.0.0.1', port, path: '/api/buckets/a', method: 'PUT', headers })
  upload.on('error', () => {}).write('ha')
  await until(async () =>
    `${(await send({ port, path: '/metrics' })).body}`.includes('http_requests_in_flight 1'),
  )
  return upload
}

t.test('the start is one log line: version, revision, address, engine, limits', async (t) => {
  const env = {
    REVISION: '0a1b2c3',
    MAX_OBJECT_BYTES: '10',
    MAX_STORE_BYTES: '1000',
    MAX_CONNECTIONS: '7',
    DRAIN_SECONDS: '0',
  }
  const service = start(t, env, ['--expose-gc'])
  const line = await service.logged('listening')
  t.match(line, {
    level: 'info',
    version: /^\d+\.\d+\.\d+$/,
    revision: '0a1b2c3',
    address: { address: '127.0.0.1', port: Number },
    engine: 'memory',
    access: 'open to all: no AUTH_TOKENS',
    maxObjectBytes: 10,
    maxStoreBytes: 1000,
    maxConnections: 7,
  })
  t.equal((await send({ port: await service.port(), path: '/readyz' })).statusCode, 200)
  t.equal(service.lines.length, 1)
  service.child.kill('SIGTERM')
  t.match(await service.exit, { code: 0, stderr: '' })
})

t.test('requests are logged at debug only, and tokens never', async (t) => {
  const service = start(t, { LOG_LEVEL: 'debug', DRAIN_SECONDS: '0', AUTH_TOKENS: 'valid-token' })
  t.match(await service.logged('listening'), { access: 'with a bearer token' })
  for (const token of ['valid-token', 'wrong-token']) {
    const headers = { authorization: `Bearer ${token}` }
    await send({ port: await service.port(), path: '/api/buckets/a', headers })
  }
  t.match(await service.logged('request'), { level: 'debug', req: { method: 'GET', url: '/api/buckets/a' } })
  t.match(await service.logged('response'), { level: 'debug', res: { statusCode: 404 } })
  t.notMatch(JSON.stringify(service.lines), /(valid|wrong)-token/)
  service.child.kill('SIGINT')
  t.match(await service.exit, { code: 0 })
})

t.test('while it drains it is not ready, and still accepts connections', async (t) => {
  const service = start(t, { DRAIN_SECONDS: '3600' })
  const port = await service.port()
  service.child.kill('SIGTERM')
  await service.logged('draining')
  const { statusCode, headers } = await send({ port, path: '/readyz' })
  t.equal(statusCode, 503)
  t.equal(headers.connection, 'close')
})

t.test('SIGTERM: drain, stop listening, finish what is under way, exit 0', async (t) => {
  const service = start(t, { DRAIN_SECONDS: '1' })
  const port = await service.port()
  const upload = await beginUpload(port)
  const signalled = performance.now()
  service.child.kill('SIGTERM')
  await until(() =>
    send({ port, path: '/livez' }).then(
      () => false,
      () => true,
    ),
  )
  t.ok(performance.now() - signalled > 900, 'it has waited for DRAIN_SECONDS')
  upload.end('lf')
  const [{ statusCode }] = await once(upload, 'response')
  t.equal(statusCode, 201)
  t.match(await service.exit, { code: 0, stderr: '' })
})

t.test('a second signal ends the process at once, with 1', async (t) => {
  const service = start(t, { DRAIN_SECONDS: '3600' })
  await service.port()
  service.child.kill('SIGTERM')
  await service.logged('draining')
  service.child.kill('SIGTERM')
  t.match(await service.exit, { code: 1 })
})

t.test('an error that nobody caught is logged and ends the process with 1, without a drain', async (t) => {
  const bomb = 'data:text/javascript,process.on("SIGWINCH",()=>{throw new Error("boom")})'
  const service = start(t, { DRAIN_SECONDS: '3600' }, ['--import', bomb])
  await service.port()
  service.child.kill('SIGWINCH')
  t.match(await service.logged('stopping after an error'), { level: 'fatal', err: { message: 'boom' } })
  t.match(await service.exit, { code: 1 })
})

t.test('a wrong setting stops the start with one line, and not with 0', async (t) => {
  const cases: [Record<string, string>, string][] = [
    [{ PORT: 'abc' }, 'PORT must be an integer from 0 to 65535, not "abc"\n'],
    [
      { MAX_OBJECT_BYTES: '-1' },
      'MAX_OBJECT_BYTES must be an integer from 0 to 1073741824 bytes, not "-1"\n',
    ],
    [{ REVISION: ' ' }, 'REVISION must be 1 to 128 visible ASCII characters, not " "\n'],
  ]
  for (const [env, stderr] of cases) {
    const service = start(t, env)
    t.strictSame(await service.exit, { code: 1, stderr })
    t.strictSame(service.lines, [])
  }
})

t.test('an address that cannot be listened on stops the start with one line, and not with 0', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  t.after(() => other.close())
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo
  const noAddress = 'HOST must be an address of this machine or a name of one, not'
  const cases: [Record<string, string>, string | RegExp][] = [
    [{ PORT: `${port}` }, `PORT must be a free port, not ${port}: another process listens on it\n`],
    [{ HOST: '192.0.2.1' }, `${noAddress} "192.0.2.1"\n`],
    [{ HOST: 'host.invalid' }, `${noAddress} "host.invalid"\n`],
    // A link-local address is not valid without its interface.
    [{ HOST: 'fe80::1' }, /^HOST and PORT must be an address to listen on: listen \w+: .* fe80::1\n$/],
  ]
  for (const [env, stderr] of cases) {
    const service = start(t, env)
    t.match(await service.exit, { code: 1, stderr }, `${env.HOST ?? env.PORT}`)
    t.strictSame(service.lines, [])
  }
})

t.test('without HOST only this machine can connect', async (t) => {
  const { address } = await start(t, { HOST: '' }).logged('listening')
  t.match(address, { address: '127.0.0.1' })
})

t.test('HOST=:: is every address, of IPv4 and of IPv6 where the machine has it', async (t) => {
  const port = await start(t, { HOST: '::' }).port()
  const addresses = Object.values(networkInterfaces()).flatMap((interfaces = []) => interfaces)
  const loopback = addresses.filter(({ internal }) => internal).map(({ address }) => address)
  t.ok(loopback.includes('127.0.0.1'))
  for (const host of loopback) t.equal((await send({ host, port, path: '/livez' })).statusCode, 200, host)
})

t.test(
  'Ctrl-C, twice at once as `node --watch` has it: no drain, what is under way is finished, exit 0',
  async (t) => {
    const service = start(t, { DRAIN_SECONDS: '3600' })
    const port = await service.port()
    const idleClosed = once(connect(port, '127.0.0.1').resume(), 'close')
    const upload = await beginUpload(port)
    service.child.kill('SIGINT')
    service.child.kill('SIGINT')
    await service.logged('stopping without a drain')
    await idleClosed
    upload.end('lf')
    const [{ statusCode }] = await once(upload, 'response')
    t.equal(statusCode, 201)
    t.match(await service.exit, { code: 0, stderr: '' })
    t.equal(service.lines.filter(({ msg }) => msg === 'stopped').length, 1)
  },
)

t.test('a second Ctrl-C ends the process at once, with 1', async (t) => {
  const service = start(t)
  await beginUpload(await service.port())
  service.child.kill('SIGINT')
  await service.logged('stopping without a drain')
  // For half a second another SIGINT belongs to the same Ctrl-C.
  const repeating = setInterval(() => service.child.kill('SIGINT'), 100)
  t.match(await service.exit, { code: 1 })
  clearInterval(repeating)
})

t.test('a process without a free file descriptor goes on, and serves when there is one again', async (t) => {
  const service = start(t, { DRAIN_SECONDS: '0' }, [], 100)
  const port = await service.port()
  const sockets = Array.from({ length: 200 }, () =>
    connect(port, '127.0.0.1')
      .on('error', () => {})
      .resume(),
  )
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  // Longer than the checks that run each second.
  await sleep(1500)
  t.equal(service.child.exitCode, null)
  for (const socket of sockets) socket.destroy()
  await until(() =>
    send({ port, path: '/readyz' }).then(
      ({ statusCode }) => statusCode === 200,
      () => false,
    ),
  )
  service.child.kill('SIGTERM')
  t.match(await service.exit, { code: 0 })
})

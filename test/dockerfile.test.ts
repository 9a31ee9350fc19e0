import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { freePorts, outputOf, run } from './process.ts'

/** The arguments of the image's Node.js that are its health check. */
const [, command = ''] = /^HEALTHCHECK .*\\\n +CMD (.+)$/m.exec(readFileSync('Dockerfile', 'utf8')) ?? []
const [, ...check]: string[] = JSON.parse(command)

/** Starts a server that answers `/readyz` with this status. */
async function startServer(t: Test, status: number): Promise<{ PORT: string }> {
  const server = createServer(({ url }, response) =>
    response.writeHead(url === '/readyz' ? status : 404).end(),
  )
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => server.close())
  return { PORT: `${(server.address() as AddressInfo).port}` }
}

/** The processor time of twenty runs of Node.js, in seconds. */
async function processorTime(args: string[], env: Record<string, string> = {}): Promise<number> {
  const script = 'run=0; while [ $((run += 1)) -le 20 ]; do "$@" || exit; done; times'
  const printed = await outputOf(['sh', '-c', script, 'sh', process.execPath, ...args], { env })
  const [, user, system] = /\n0m([\d.]+)s 0m([\d.]+)s\n$/.exec(printed) ?? []
  return Number(user) + Number(system)
}

t.test('the health check succeeds if the service is ready, and fails otherwise', async (t) => {
  const status = async (env: { PORT: string }) => (await run([process.execPath, ...check], { env })).status
  t.equal(await status(await startServer(t, 200)), 0)
  t.equal(await status(await startServer(t, 503)), 1)
  const [port] = await freePorts(1)
  t.equal(await status({ PORT: `${port}` }), 1, 'nothing listens')
})

// The check takes its time from the service's quota, which may be a tenth of a core. With `fetch`
// it cost three times the start of Node.js, and requests waited for it.
t.test('the health check costs at most twice the start of Node.js', async (t) => {
  const env = await startServer(t, 200)
  const [ofCheck, ofStart] = await Promise.all([processorTime(check, env), processorTime(['-e', '0'])])
  t.ok(ofCheck < 2 * ofStart, `${(ofCheck / ofStart).toFixed(2)} times`)
})

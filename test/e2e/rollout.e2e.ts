import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { until } from '../helper.ts'
import { start as startProgram, stop } from '../process.ts'
import { type Container, compose, docker, startContainer } from './docker.ts'
import { requireTool } from './require-tool.ts'

requireTool('docker', 'compose', 'version')

const ROLLOUTS = 10
const MAX_SECONDS = 200
const DRAIN_SECONDS = 3
/** The interval of the kubelet with `periodSeconds: 1`. */
const PROBE_INTERVAL_MS = 1000

await compose(['build', 'storage_api'])
const { services } = JSON.parse(await compose(['config', '--format', 'json']))

/** A pod in the view of the Service. */
interface Backend {
  container: Container
  host: string
  isReady: boolean
  connections: number
}
const backends = new Set<Backend>()

/** Starts a container of the service. It gets no connection until a probe has found it ready. */
async function start(): Promise<Backend> {
  const container = await startContainer(
    ...['--memory', '512m', '--env', `DRAIN_SECONDS=${DRAIN_SECONDS}`],
    services.storage_api.image,
  )
  const [{ NetworkSettings }] = JSON.parse(await docker('inspect', container.name))
  const [network] = Object.values<{ IPAddress: string }>(NetworkSettings.Networks)
  const backend = { container, host: network?.IPAddress as string, isReady: false, connections: 0 }
  backends.add(backend)
  return backend
}

/**
 * Forwards connections like a Service, not requests: each to a backend that was ready at the last
 * probe.
 */
const service = createServer((client) => {
  const ready = [...backends].filter(({ isReady }) => isReady)
  const backend = ready[Math.floor(Math.random() * ready.length)]
  if (backend === undefined) return void client.destroy()
  backend.connections++
  const upstream = connect({ host: backend.host, port: 5000, allowHalfOpen: true, noDelay: true })
  client.pipe(upstream).pipe(client)
  client.on('error', () => upstream.destroy())
  upstream.on('error', () => client.resetAndDestroy())
})
service.listen({ host: '127.0.0.1', port: 0, allowHalfOpen: true })
await once(service, 'listening')

const probing = setInterval(() => {
  for (const backend of backends) {
    fetch(`http://${backend.host}:5000/readyz`, { signal: AbortSignal.timeout(PROBE_INTERVAL_MS) }).then(
      ({ ok }) => {
        backend.isReady = ok
      },
      () => {
        backend.isReady = false
      },
    )
  }
}, PROBE_INTERVAL_MS)

t.teardown(async () => {
  clearInterval(probing)
  service.close()
  for (const { container } of backends) await container.remove()
})

t.test(`no request fails in ${ROLLOUTS} rollouts under 64 connections`, async (t) => {
  let old = await start()
  await until(() => old.isReady)

  const { port } = service.address() as AddressInfo
  const program = join(import.meta.dirname, 'load.ts')
  const load = startProgram([process.execPath, program, `${port}`, `${MAX_SECONDS}`])
  t.after(() => stop(load))
  const printed = text(load.stdout as Readable)
  await until(() => old.connections >= 64)

  for (let rollout = 1; rollout <= ROLLOUTS; rollout++) {
    const next = await start()
    await until(() => next.isReady)
    await docker('kill', '--signal', 'TERM', old.container.name)
    const status = await docker('wait', old.container.name)
    t.equal(status, '0', `the old one of rollout ${rollout} ends with 0`)
    await old.container.remove()
    backends.delete(old)
    t.ok(next.connections >= 64, `${next.connections} connections to the new one`)
    old = next
  }
  await sleep(PROBE_INTERVAL_MS)
  load.kill('SIGTERM')
  const result = JSON.parse((await printed).split('\n')[1] as string)
  t.strictSame(result.lost, [])
  t.equal(result.refused, 0)
  // The objects of the old process are lost, so GETs get 404 and PUTs get 201.
  const statuses = Object.keys(result.answers)
  t.strictSame(
    statuses.filter((status) => !['200', '201', '204', '404'].includes(status)),
    [],
  )
  t.comment(JSON.stringify(result.answers))
})

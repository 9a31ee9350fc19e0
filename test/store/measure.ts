/**
 * Measures what objects cost: `node --expose-gc test/store/measure.ts NAME`.
 * Prints one line of JSON.
 */
import { hash } from 'node:crypto'
import { type AddressInfo, connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { buildApp } from '../../src/app.ts'
import { loadConfig } from '../../src/plugins/config.ts'

/** Requests that are on their way at once, pipelined. */
const BATCH = 100
const BODY = 'x'.repeat(100)

const app = buildApp(loadConfig({ LOG_LEVEL: 'silent' }))
await app.listen({ host: '127.0.0.1', port: 0 })
const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')

/** Sends a request for each number below `count` that passes, and waits for the answers, which must all be successes. */
async function request(
  method: string,
  count: number,
  query = '',
  passes = (_i: number) => true,
): Promise<void> {
  const requests = Array.from({ length: count }, (_, i) => i)
    .filter(passes)
    .map((i) => {
      const path = `/api/buckets/object-${String(i).padStart(12, '0')}${query}`
      const body = method === 'PUT' ? BODY : ''
      return `${method} ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`
    })
  for (let first = 0; first < requests.length; first += BATCH) {
    const batch = requests.slice(first, first + BATCH)
    socket.write(batch.join(''))
    let answers = ''
    while (answers.split('\r\n\r\n').length <= batch.length) {
      answers += await new Promise((resolve) => socket.once('data', resolve))
    }
    if (/HTTP\/1.1 [^2]/.test(answers)) throw new Error(answers)
  }
}

/** Memory in use after garbage collection, in bytes: what JavaScript holds, and what the process holds. */
async function memory() {
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.()
    await sleep(50)
  }
  const { heapUsed, arrayBuffers, rss } = process.memoryUsage()
  return { used: heapUsed + arrayBuffers, rss }
}

const measurements: Record<string, () => Promise<Record<string, number>>> = {
  async 'long-urls'() {
    const objects = 2000
    const query = `?${'q'.repeat(12_000)}`
    await request('PUT', 100, query)
    await request('DELETE', 100, query)
    const before = await memory()
    await request('PUT', objects, query)
    return { bytesAnObject: ((await memory()).used - before.used) / objects }
  },

  async survivors() {
    const objects = 20_000
    await request('PUT', objects)
    await request('DELETE', objects)
    const before = await memory()
    await request('PUT', objects)
    await request('DELETE', objects, '', (i) => i % 80 !== 0)
    return { bytesASurvivor: ((await memory()).used - before.used) / (objects / 80) }
  },

  /** The store alone: what a request leaves to be collected is not what an object costs. */
  async accounting() {
    const { store } = app
    const before = await memory()
    for (let i = 0; i < 500_000; i++) {
      store.reserve(BODY.length)
      const bytes = Buffer.allocUnsafeSlow(BODY.length).fill(i)
      const etag = JSON.stringify(hash('sha256', bytes, 'base64url').slice(0, 22))
      store.put(`object-${String(i).padStart(12, '0')}`, { bytes, etag, expires: undefined })
    }
    return { ratio: ((await memory()).rss - before.rss) / (await store.stats()).bytes }
  },
}

console.log(JSON.stringify(await measurements[process.argv[2] as string]?.()))
socket.destroy()
await app.close()

/**
 * Measures the costs of objects: `node --expose-gc scripts/bench/measure.ts NAME`. Prints one line
 * of JSON.
 */
import { hash } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Readable } from 'node:stream'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import { buildApp } from '../../src/app.ts'
import { loadConfig } from '../../src/plugins/config.ts'
import { start } from '../../test/process.ts'

/** The number of pipelined requests in progress. */
const BATCH = 100
const MILLION = 1_000_000
const BODY = 'x'.repeat(100)

const app = buildApp(loadConfig({ LOG_LEVEL: 'silent' }))
await app.listen({ host: '127.0.0.1', port: 0 })
const { port } = app.server.address() as AddressInfo
const socket = connect(port, '127.0.0.1')

/**
 * Sends a request for each number below `count` that passes. Waits for the responses, which must
 * all be successes.
 */
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

/** The memory in use after garbage collection, in bytes: of JavaScript and of the process. */
async function memory() {
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.()
    await sleep(50)
  }
  const { heapUsed, arrayBuffers, rss } = process.memoryUsage()
  return { used: heapUsed + arrayBuffers, heapUsed, rss }
}

const measurements: Record<string, () => Promise<object>> = {
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

  /** The store without HTTP, because the garbage of a request is not a cost of an object. */
  async accounting() {
    const before = await memory()
    await fill(500_000)
    const grown = (await memory()).rss - before.rss
    return {
      ratio: grown / (await app.store.stats()).bytes,
      bytesAnObject: grown / 500_000 - BODY.length,
    }
  },

  /**
   * The cost of an entity tag by algorithm, and the processor time of the whole PUT, in
   * microseconds.
   */
  async hash() {
    const cases: Record<string, Record<string, number>> = {}
    for (const [size, puts] of [
      [100, 20_000],
      [64 * 1024, 4000],
    ] as const) {
      const script = `
        const body = Buffer.alloc(${size})
        for (let i = 0; i < ${puts}; i++)
          await fetch('http://127.0.0.1:${port}/api/buckets/' + i % 100, { method: 'PUT', body })
      `
      const run = await startClient(script)
      const before = process.cpuUsage()
      await run()
      const { user, system } = process.cpuUsage(before)
      const us: Record<string, number> = { put: (user + system) / puts }
      const bytes = Buffer.alloc(size)
      for (const algorithm of ['sha256', 'sha1', 'md5', 'blake2s256']) {
        const started = performance.now()
        for (let i = 0; i < puts; i++) hash(algorithm, bytes, 'base64url')
        us[algorithm] = ((performance.now() - started) * 1000) / puts
      }
      cases[`${size} B`] = us
    }
    return cases
  },

  /**
   * Only turns of 1 ms, for as long as a listing takes. They show the delay of the machine itself.
   */
  async turns() {
    return measureDelays(async () => {
      const end = performance.now() + 5000
      for (let now = performance.now(); now < end; now = performance.now()) {
        while (performance.now() < now + 1) {}
        await setImmediate()
      }
    })
  },

  /** A client reads all pages. */
  async listing() {
    const script = `
      let cursor = '', listed = 0
      while (cursor !== null) {
        const answer = await fetch('http://127.0.0.1:${port}/api/buckets?limit=1000&cursor=' + cursor)
        // Overloaded, because of the garbage collection before.
        if (answer.status === 503) continue
        const { buckets, next } = await answer.json()
        cursor = next
        listed += buckets.length
      }
      if (listed !== ${MILLION}) throw new Error(listed + ' objects')
    `
    const readAll = await startClient(script)
    await fill(MILLION)
    return measureDelays(readAll)
  },

  /** A million objects expire in the same second. */
  async sweep() {
    const now = Date.now
    const end = Math.ceil(now() / 1000) + 3600
    await fill(MILLION, end)
    return measureDelays(async () => {
      Date.now = () => now() + 3600_000
      while ((await app.store.stats()).objects > 0) await sleep(10)
    })
  },
}

const idOf = (i: number, objects: number) => `object-${String((i * 7919) % objects).padStart(12, '0')}`

/** Stores objects without HTTP, with ids in a mixed order, and without blocking the event loop. */
async function fill(objects: number, expires?: number): Promise<void> {
  for (let i = 0; i < objects; i++) {
    if (i % 1000 === 0) await setImmediate()
    const bytes = Buffer.allocUnsafeSlow(BODY.length).fill(i)
    const etag = JSON.stringify(hash('sha256', bytes, 'base64url').slice(0, 22))
    const id = idOf(i, objects)
    app.store.reserve(bytes.length)
    if (app.store.put(id, { bytes, etag, expires }) !== 'created') throw new Error('full')
  }
}

/**
 * Starts a client in its own process. Resolves when it has made its first request.
 *
 * Call this while the process is small, because after forking a large process each of its pages
 * faults once more.
 *
 * @returns a function that lets the script run and waits for its end.
 */
async function startClient(script: string): Promise<() => Promise<void>> {
  const lines = [
    `await fetch('http://127.0.0.1:${port}/api/buckets?limit=1')`,
    "console.log('ready')",
    "await new Promise((resolve) => process.stdin.once('data', resolve))",
    script,
    'process.exit()',
  ]
  const args = [process.execPath, '--input-type=module', '--eval', lines.join('\n')]
  const child = start(args, { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(child.stdout as Readable, 'data')
  return async () => {
    child.stdin?.write('go')
    const [code] = await once(child, 'exit')
    if (code !== 0) throw new Error(`the client exited with ${code}`)
  }
}

/** The event loop delays while something runs, in milliseconds: the longest, and the p99. */
async function measureDelays(work: () => Promise<unknown>) {
  globalThis.gc?.()
  // Waits until V8's threads have finished sweeping.
  await sleep(2000)
  const delays = monitorEventLoopDelay({ resolution: 1 })
  delays.enable()
  await work()
  delays.disable()
  return { longestDelayMs: delays.max / 1e6, p99DelayMs: delays.percentile(99) / 1e6 }
}

console.log(JSON.stringify(await measurements[process.argv[2] as string]?.()))
socket.destroy()
await app.close()

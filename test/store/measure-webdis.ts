/**
 * Compares this service on Redis with webdis before the same server: `node test/store/measure-webdis.ts`.
 * Prints, a line a case, requests a second and processor time a request, in microseconds, of either and of the server
 * behind it: medians of rounds in turns.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const CONNECTIONS = 32
const ROUNDS = 7
/** How long a round takes, in milliseconds. */
const ROUND_MS = 1000
const TICK_US = 10_000

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await once(server.close(), 'close')
  return port
}

async function opened(port: number): Promise<Socket> {
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    try {
      await once(socket, 'connect')
      return socket.setNoDelay()
    } catch {
      await sleep(20)
    }
  }
}

/** Processor time that a process has had, in microseconds. */
function cpuUs({ pid }: ChildProcess): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(stat[11]) + Number(stat[12])) * TICK_US
}

/** Sends a request again and again over one connection until the time is over; returns how often. */
async function repeat(socket: Socket, request: Buffer, deadline: number): Promise<number> {
  let answers = 0
  let missing = 0
  let head = ''
  const over = Promise.withResolvers<void>()
  const onData = (chunk: Buffer) => {
    if (missing > 0) {
      missing -= chunk.length
    } else {
      head += chunk.toString('latin1')
      const end = head.indexOf('\r\n\r\n')
      if (end < 0) return
      if (!/^HTTP\/1.1 2/.test(head)) throw new Error(head)
      missing = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0) - (head.length - end - 4)
      head = ''
    }
    if (missing > 0) return
    answers++
    if (performance.now() < deadline) socket.write(request)
    else over.resolve()
  }
  socket.on('data', onData).write(request)
  await over.promise
  socket.off('data', onData)
  return answers
}

const median = (numbers: number[]) => numbers.sort((a, b) => a - b)[numbers.length >> 1] as number

const dir = mkdtempSync(join(tmpdir(), 'measure-webdis-'))
const [redisPort, webdisPort, servicePort] = [await freePort(), await freePort(), await freePort()]
const config = {
  ...{ redis_host: '127.0.0.1', redis_port: redisPort, http_host: '127.0.0.1', http_port: webdisPort },
  ...{ threads: 2, daemonize: false, database: 0, verbosity: 0, logfile: join(dir, 'webdis.log') },
  http_max_request_size: 2 ** 24,
}
writeFileSync(join(dir, 'webdis.json'), JSON.stringify(config))
const run = (command: string, args: string[], env = {}) =>
  spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, ...env } })
const redis = run('redis-server', ['--port', `${redisPort}`, '--save', '', '--dir', dir])
const redisReady = await opened(redisPort)
redisReady.destroy()
const webdis = run('webdis', [join(dir, 'webdis.json')])
const service = run(process.execPath, ['src/server.ts'], {
  ...{ STORAGE_URL: `redis://127.0.0.1:${redisPort}`, HOST: '127.0.0.1', PORT: `${servicePort}` },
  LOG_LEVEL: 'warn',
})
const targets = [
  { name: 'service', child: service, port: servicePort, path: () => '/api/buckets/object' },
  {
    ...{ name: 'webdis', child: webdis, port: webdisPort },
    path: (method: string) => (method === 'GET' ? '/GET/object.txt' : '/SET/object'),
  },
]

for (const size of [100, 64 * 1024]) {
  for (const method of ['PUT', 'GET']) {
    const figures = targets.map(({ name }) => ({
      name,
      rate: [] as number[],
      own: [] as number[],
      behind: [] as number[],
    }))
    for (let round = 0; round < ROUNDS; round++) {
      for (const [i, { child, port, path }] of targets.entries()) {
        const body = method === 'PUT' ? Buffer.alloc(size, 'x') : Buffer.alloc(0)
        const fields = `Host: a\r\nContent-Length: ${body.length}\r\n\r\n`
        const request = Buffer.concat([Buffer.from(`${method} ${path(method)} HTTP/1.1\r\n${fields}`), body])
        const sockets = await Promise.all(Array.from({ length: CONNECTIONS }, () => opened(port)))
        const [own, behind, begun] = [cpuUs(child), cpuUs(redis), performance.now()]
        const counts = await Promise.all(sockets.map((socket) => repeat(socket, request, begun + ROUND_MS)))
        const requests = counts.reduce((a, b) => a + b)
        const figure = figures[i]
        figure?.rate.push((requests / (performance.now() - begun)) * 1000)
        figure?.own.push((cpuUs(child) - own) / requests)
        figure?.behind.push((cpuUs(redis) - behind) / requests)
        for (const socket of sockets) socket.destroy()
      }
    }
    for (const { name, rate, own, behind } of figures)
      console.log(
        `${method} ${size} B, ${name}: ${median(rate).toFixed(0)} requests/s, ${median(own).toFixed(0)} us, server ${median(behind).toFixed(0)} us`,
      )
  }
}
for (const child of [service, webdis, redis]) child.kill('SIGKILL')
rmSync(dir, { recursive: true, force: true })
process.exit()

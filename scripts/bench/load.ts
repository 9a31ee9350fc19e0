/**
 * Loads a server: `load.ts PORT PATHS WORKLOAD fill|empty|SECONDS`, and prints one line of JSON. `fill` stores the workload's
 * objects, `empty` deletes them. Made of sockets, for a client that costs more than the server would measure itself.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { ask, CONNECTIONS, empty, fill, PATHS, WORKLOADS } from './workloads.ts'

/** What the client reports. */
export interface Load {
  requests: number
  requestsPerSecond: number
  p50Ms: number
  p99Ms: number
  /** Answers by status code. */
  answers: Record<string, number>
}

const [port, pathsName, workloadName, mode = ''] = process.argv.slice(2)
const workload = WORKLOADS[workloadName as keyof typeof WORKLOADS]
const requests = ({ fill, empty }[mode] ?? ask)(workload, PATHS[pathsName as keyof typeof PATHS])
const latenciesMs: number[] = []
const answers: Record<string, number> = {}

/** Sends one request after another until there are no more or the time is over. */
function run(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    let sent = 0
    let unread = 0
    let head: Buffer[] = []

    function send(): void {
      sent = performance.now()
      const { value, done } = requests.next()
      if (done || sent > deadline) {
        socket.destroy()
        resolve()
      } else {
        socket.write(value, 'latin1')
      }
    }

    function end(): void {
      latenciesMs.push(performance.now() - sent)
      send()
    }

    function read(chunk: Buffer): void {
      if (unread > 0) {
        unread -= chunk.length
        if (unread === 0) end()
        return
      }
      const bytes = head.length === 0 ? chunk : Buffer.concat([...head, chunk])
      const headLength = bytes.indexOf('\r\n\r\n') + 4
      if (headLength === 3) return void head.push(chunk)
      head = []
      const text = bytes.toString('latin1', 0, headLength)
      const status = text.slice(9, 12)
      answers[status] = (answers[status] ?? 0) + 1
      const hasBody = status !== '204' && status !== '304'
      const length = hasBody ? Number(/\r\ncontent-length: *(\d+)/i.exec(text)?.[1]) : 0
      unread = headLength + length - bytes.length
      if (unread === 0) end()
      else if (!(unread > 0)) reject(new Error(`an answer without a length:\n${text}`))
    }

    socket.on('data', read).once('error', reject)
    socket.once('end', () => reject(new Error('the server has closed a connection')))
    send()
  })
}

const sockets = Array.from({ length: CONNECTIONS }, () =>
  connect({ host: '127.0.0.1', port: Number(port), noDelay: true }),
)
await Promise.all(sockets.map((socket) => once(socket, 'connect')))
const begun = performance.now()
const deadline = mode in { fill, empty } ? Number.POSITIVE_INFINITY : begun + Number(mode) * 1000
await Promise.all(sockets.map(run))
const elapsedSeconds = (performance.now() - begun) / 1000
const sorted = Float64Array.from(latenciesMs).sort()
const quantile = (q: number) => sorted[Math.floor(q * (sorted.length - 1))] as number
const load: Load = {
  requests: sorted.length,
  requestsPerSecond: sorted.length / elapsedSeconds,
  p50Ms: quantile(0.5),
  p99Ms: quantile(0.99),
  answers,
}
console.log(JSON.stringify(load))

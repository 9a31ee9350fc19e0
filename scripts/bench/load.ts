/**
 * Loads servers. It runs as its own process, gets one {@link Task} after another, and answers each
 * with a {@link Load}. One process does all tasks, because its code is slow until it has run for a
 * while. It uses plain sockets, because a client that costs more than the server would measure
 * itself.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { ask, CONNECTIONS, empty, fill, PATHS, WORKLOADS, type WorkloadName } from './workloads.ts'

/**
 * The server and the workload: for this many seconds, or until the objects of the workload are
 * stored or deleted.
 */
export interface Task {
  readonly port: number
  readonly paths: keyof typeof PATHS
  readonly workload: WorkloadName
  readonly mode: 'fill' | 'empty' | number
  /**
   * Whether the client never sleeps. Set it if the client has its own core. The server's kernel
   * must wake a sleeping client. On one machine this takes 10 us of the 45 us of a GET, and more
   * with a slower server.
   */
  readonly isSleepless: boolean
}

/** The report of the client. */
export interface Load {
  requests: number
  requestsPerSecond: number
  p50Ms: number
  p99Ms: number
  /** Responses by status code. */
  answers: Record<string, number>
}

/**
 * Sends one request after another until there are no more. Reports the duration of each response,
 * in milliseconds.
 */
function run(
  socket: Socket,
  next: () => string | undefined,
  onAnswer: (status: string, ms: number) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let sent = 0
    let status = ''
    let unread = 0
    let head: Buffer[] = []

    function send(): void {
      const request = next()
      if (request === undefined) {
        socket.destroy()
        resolve()
      } else {
        sent = performance.now()
        socket.write(request, 'latin1')
      }
    }

    function end(): void {
      onAnswer(status, performance.now() - sent)
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
      status = text.slice(9, 12)
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

async function load({ port, paths, workload, mode, isSleepless }: Task): Promise<Load> {
  const requests = (mode === 'fill' ? fill : mode === 'empty' ? empty : ask)(
    WORKLOADS[workload],
    PATHS[paths],
  )
  const sockets = Array.from({ length: CONNECTIONS }, () =>
    connect({ host: '127.0.0.1', port, noDelay: true }),
  )
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  const latenciesMs: number[] = []
  const answers: Record<string, number> = {}
  const begun = performance.now()
  const deadline = typeof mode === 'number' ? begun + mode * 1000 : Number.POSITIVE_INFINITY
  const next = () =>
    performance.now() < deadline ? (requests.next().value as string | undefined) : undefined
  const note = (status: string, ms: number) => {
    latenciesMs.push(ms)
    answers[status] = (answers[status] ?? 0) + 1
  }
  let isLoading = isSleepless
  const poll = () => void (isLoading && setImmediate(poll))
  poll()
  await Promise.all(sockets.map((socket) => run(socket, next, note)))
  isLoading = false
  const elapsedSeconds = (performance.now() - begun) / 1000
  const sorted = Float64Array.from(latenciesMs).sort()
  const quantile = (q: number) => sorted[Math.floor(q * (sorted.length - 1))] as number
  return {
    requests: sorted.length,
    requestsPerSecond: sorted.length / elapsedSeconds,
    p50Ms: quantile(0.5),
    p99Ms: quantile(0.99),
    answers,
  }
}

process.on('message', async (task: Task) => process.send?.(await load(task)))

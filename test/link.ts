/**
 * A network of a limited speed: a proxy in a separate thread, so that its work does not delay the
 * code under test. Each direction has the full speed, as in a switched network.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { parentPort, Worker, workerData } from 'node:worker_threads'
import type { Test } from 'tap'

/**
 * How much of one connection is on the link at once, in bytes. The other connections have their
 * turn in between.
 */
const TURN_BYTES = 128 * 1024

/** The delay that the link can make up, in milliseconds. A busy machine makes its thread wait. */
const CATCH_UP_MS = 20

export interface LinkCounts {
  /** Bytes from the server to its clients, and from the clients to the server. */
  down: number
  up: number
  /** The number of connections so far. */
  connections: number
}

export interface LimitedLink {
  readonly port: number
  counts(): Promise<LinkCounts>
  /** Limits the speed of each direction. Without it there is no limit. */
  limit(bytesPerSecond: number): void
}

/** One direction. Chunks leave it in the order of their arrival, one after another. */
class Direction {
  readonly #queue: { leaveAt: number; leave: () => void }[] = []
  #freeAt = 0
  #timer: NodeJS.Timeout | undefined
  bytesPerMs = Number.POSITIVE_INFINITY
  bytes = 0

  carry(from: Socket, to: Socket): void {
    let onLink = 0
    const resume = () => {
      if (onLink < TURN_BYTES && !to.writableNeedDrain) from.resume()
    }
    to.on('drain', resume)
    from.on('data', (chunk) => {
      onLink += chunk.length
      this.bytes += chunk.length
      if (onLink >= TURN_BYTES) from.pause()
      this.#enter(chunk.length, () => {
        onLink -= chunk.length
        if (!to.write(chunk)) from.pause()
        resume()
      })
    })
    from.on('error', () => to.destroy()).on('close', () => this.#enter(0, () => to.destroy()))
  }

  #enter(bytes: number, leave: () => void): void {
    this.#freeAt = Math.max(this.#freeAt, performance.now() - CATCH_UP_MS) + bytes / this.bytesPerMs
    this.#queue.push({ leaveAt: this.#freeAt, leave })
    this.#timer ??= setTimeout(() => this.#run(), 1)
  }

  #run(): void {
    const now = performance.now()
    const count = this.#queue.findIndex(({ leaveAt }) => leaveAt > now)
    for (const { leave } of this.#queue.splice(0, count === -1 ? this.#queue.length : count)) leave()
    this.#timer = this.#queue.length === 0 ? undefined : setTimeout(() => this.#run(), 1)
  }
}

async function serve(port: number): Promise<void> {
  const down = new Direction()
  const up = new Direction()
  let connections = 0
  const server = createServer({ noDelay: true }, (client) => {
    connections++
    const upstream = connect({ port, host: '127.0.0.1', noDelay: true })
    down.carry(upstream, client)
    up.carry(client, upstream)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  parentPort?.postMessage((server.address() as AddressInfo).port)
  parentPort?.on('message', (bytesPerSecond: number | undefined) => {
    if (bytesPerSecond !== undefined) down.bytesPerMs = up.bytesPerMs = bytesPerSecond / 1000
    else parentPort?.postMessage({ down: down.bytes, up: up.bytes, connections } satisfies LinkCounts)
  })
}

/** Starts a link to a port of this machine. It ends with the test. */
export async function startLink(t: Test, port: number): Promise<LimitedLink> {
  const worker = new Worker(import.meta.filename, { workerData: { linkTo: port } })
  t.after(() => worker.terminate())
  const [linkPort] = await once(worker, 'message')
  return {
    port: linkPort,
    async counts() {
      worker.postMessage(undefined)
      const [counts] = await once(worker, 'message')
      return counts
    },
    limit: (bytesPerSecond) => worker.postMessage(bytesPerSecond),
  }
}

if (parentPort !== null && workerData?.linkTo !== undefined) await serve(workerData.linkTo)

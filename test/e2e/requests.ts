/**
 * Clients in a separate thread that send requests one after another. They cost little, so that the
 * server is measured and not the clients.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, Worker, workerData } from 'node:worker_threads'
import { get, put } from './clients.ts'

/** A group of clients that send the same request. */
export interface Kind {
  readonly clients: number
  readonly method: 'GET' | 'PUT'
  readonly bytes: number
}

/** The number of responses by kind and status code. */
export type StatusCodes = Record<number, number>[]

export const pathOf = ({ method, bytes }: Kind, client: number) => `/api/buckets/${method}-${bytes}-${client}`

/** All connections read into this buffer, because the bodies are not used. */
const READ_BUFFER = Buffer.allocUnsafe(256 * 1024)

/** A connection that sends the requests of one client. */
export class Requests {
  readonly #socket: Socket
  readonly #request: Buffer
  #resolve: (statusCode: number) => void = () => {}
  #statusCode = 0
  #missingBytes = 0

  constructor(port: number, kind: Kind, client: number) {
    const path = pathOf(kind, client)
    this.#request =
      kind.method === 'GET'
        ? Buffer.from(get(path))
        : Buffer.concat([Buffer.from(put(path, kind.bytes)), Buffer.alloc(kind.bytes, 'x')])
    const onread = {
      buffer: READ_BUFFER,
      callback: (bytes: number) => {
        this.#read(bytes)
        return true
      },
    }
    this.#socket = connect({ host: '127.0.0.1', port, noDelay: true, onread })
  }

  /** Sends the request and returns the status code of the response. */
  send(): Promise<number> {
    this.#socket.write(this.#request)
    return new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  close(): void {
    this.#socket.destroy()
  }

  #read(bytes: number): void {
    if (this.#missingBytes === 0) {
      // The service sends the head of a response in one piece.
      const end = READ_BUFFER.indexOf('\r\n\r\n') + 4
      const head = READ_BUFFER.toString('latin1', 0, end)
      this.#statusCode = Number(head.slice(9, 12))
      this.#missingBytes = end + Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0)
    }
    this.#missingBytes -= bytes
    if (this.#missingBytes === 0) this.#resolve(this.#statusCode)
  }
}

/**
 * Begins to send requests in a thread. A rejected request is repeated after a second, as
 * `Retry-After` says. Resolves when every client has had a response.
 */
export async function startRequests(port: number, kinds: Kind[]): Promise<{ stop(): Promise<StatusCodes> }> {
  const worker = new Worker(import.meta.filename, { workerData: { requestsTo: port, kinds } })
  await once(worker, 'message')
  return {
    async stop() {
      worker.postMessage('stop')
      const [statusCodes] = await once(worker, 'message')
      await worker.terminate()
      return statusCodes
    },
  }
}

if (parentPort !== null && workerData?.requestsTo !== undefined) {
  const { requestsTo, kinds } = workerData as { requestsTo: number; kinds: Kind[] }
  let isOver = false
  let waiting = kinds.reduce((sum, { clients }) => sum + clients, 0)
  parentPort.once('message', () => {
    isOver = true
  })
  const run = async (kind: Kind) => {
    const statusCodes: Record<number, number> = {}
    const loop = async (client: number) => {
      const requests = new Requests(requestsTo, kind, client)
      for (let number = 0; !isOver; number++) {
        const statusCode = await requests.send()
        if (number === 0 && --waiting === 0) parentPort?.postMessage('all')
        statusCodes[statusCode] = (statusCodes[statusCode] ?? 0) + 1
        if (statusCode === 503) await sleep(1000)
      }
      requests.close()
    }
    await Promise.all(Array.from({ length: kind.clients }, (_, client) => loop(client)))
    return statusCodes
  }
  parentPort.postMessage((await Promise.all(kinds.map(run))) satisfies StatusCodes)
}

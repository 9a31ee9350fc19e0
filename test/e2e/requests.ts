/** Clients in a separate thread, which send requests one after another. */
import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, Worker, workerData } from 'node:worker_threads'

export interface Kind {
  readonly clients: number
  readonly method: 'GET' | 'PUT'
  readonly bytes: number
}

export const pathOf = ({ method, bytes }: Kind, client: number) => `/api/buckets/${method}-${bytes}-${client}`

/** Sends one request and reads its answer. */
export async function ask(port: number, agent: Agent, kind: Kind, client: number) {
  const path = pathOf(kind, client)
  const outgoing = request({ host: '127.0.0.1', port, agent, method: kind.method, path })
  outgoing.end(kind.method === 'PUT' ? Buffer.alloc(kind.bytes, 'x') : undefined)
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
  await once(response.resume(), 'end')
  return response
}

/** How many answers there were of each status code, for each kind. */
export type StatusCodes = Record<number, number>[]

/** Begins to send requests of some kinds. A refused request is repeated when `Retry-After` says so. */
export function startRequests(port: number, kinds: Kind[]): { stop(): Promise<StatusCodes> } {
  const worker = new Worker(import.meta.filename, { workerData: { requestsTo: port, kinds } })
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
  const agent = new Agent({ keepAlive: true })
  let isOver = false
  parentPort.once('message', () => {
    isOver = true
  })
  const run = async (kind: Kind) => {
    const statusCodes: Record<number, number> = {}
    const loop = async (client: number) => {
      while (!isOver) {
        const { statusCode = 0, headers } = await ask(requestsTo, agent, kind, client)
        statusCodes[statusCode] = (statusCodes[statusCode] ?? 0) + 1
        if (statusCode === 503) await sleep(1000 * Number(headers['retry-after']))
      }
    }
    await Promise.all(Array.from({ length: kind.clients }, (_, client) => loop(client)))
    return statusCodes
  }
  parentPort.postMessage((await Promise.all(kinds.map(run))) satisfies StatusCodes)
}

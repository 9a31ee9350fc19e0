/**
 * Loads a Storage API on this machine with 64 connections: `load.ts [PORT [SECONDS]]`. It ends when
 * nothing listens any more, when the time is over, or at SIGTERM. It prints the outcomes of the
 * requests as one line of JSON. It needs only Node.js, so that it can run in the network of the
 * container that it loads.
 */
import { Agent, type IncomingMessage, request } from 'node:http'

const CONNECTIONS = 64
const [port = '5000', seconds = '60'] = process.argv.slice(2)
const deadline = Date.now() + Number(seconds) * 1000
let isStopping = false
process.once('SIGTERM', () => {
  isStopping = true
})
const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS })

const result = {
  /** Complete responses by status code. */
  answers: {} as Record<string, number>,
  /** Responses that closed their connection. */
  closing: 0,
  /** Requests on an existing or accepted connection that got no complete response. */
  lost: [] as string[],
  /** Connections that were refused. */
  refused: 0,
}

/** Sends one request. Returns false if nothing listens any more. */
function exchange(method: string, path: string, body?: string): Promise<boolean> {
  return new Promise((resolve) => {
    const fail = ({ code }: NodeJS.ErrnoException) => {
      if (code === 'ECONNREFUSED') result.refused++
      else result.lost.push(`${method} ${code}`)
      resolve(code !== 'ECONNREFUSED')
    }
    const outgoing = request({ host: '127.0.0.1', port, method, path, agent })
    outgoing.once('error', fail)
    outgoing.once('response', (response: IncomingMessage) => {
      response.once('error', fail).resume()
      response.once('end', () => {
        const status = String(response.statusCode)
        result.answers[status] = (result.answers[status] ?? 0) + 1
        if (response.headers.connection === 'close') result.closing++
        resolve(true)
      })
    })
    outgoing.end(body)
  })
}

async function worker(id: number): Promise<void> {
  const path = `/api/buckets/${id}`
  const body = 'x'.repeat(10_000)
  while (!isStopping && Date.now() < deadline) {
    if (!(await exchange('PUT', path, body))) return
    if (!(await exchange('GET', path))) return
  }
}

console.log('loading')
await Promise.all(Array.from({ length: CONNECTIONS }, (_, id) => worker(id)))
console.log(JSON.stringify(result))

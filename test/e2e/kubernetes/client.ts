/**
 * Keeps 64 connections to a Storage API busy, `client.ts HOST`, until SIGTERM, and then reads what
 * the service has acknowledged. Prints one line of JSON. Needs nothing but Node.js, so that it can
 * run in a pod.
 */
import { Agent, type IncomingMessage, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

const CONNECTIONS = 64
const IDS = 20
const PAUSE_MS = 250
const RETRY_MS = 1000
const READ_BACK_MS = 60_000
const REFUSED_MS = 100
const [host = '127.0.0.1'] = process.argv.slice(2)
let isStopping = false
process.once('SIGTERM', () => {
  isStopping = true
})

const result = {
  /** Complete answers, by status code; those of 500 and above also by their error. */
  answers: {} as Record<string, number>,
  /** Connections that were opened. */
  connections: 0,
  /**
   * Requests that were sent again because an idle connection was closed: RFC 9110, 9.2.2 allows it
   * for PUT and GET.
   */
  retried: 0,
  /**
   * Connections that were refused, though one 100 ms later was accepted. A network plugin may not
   * know a new pod yet when the Service does.
   */
  refused: 0,
  /**
   * Answers that ask to send the request again later, because a process has more to do than it can.
   */
  overloaded: 0,
  /** Requests without a complete answer, by method and error. */
  failed: {} as Record<string, number>,
  /** When requests failed, in whole seconds since the start. */
  failedAt: [] as number[],
  /**
   * Answers of status 500 and above: when the first and the last came, in milliseconds of Unix
   * time.
   */
  unavailable: [] as number[],
  /** Acknowledged objects. */
  acknowledged: 0,
  /** Acknowledged objects that are gone or older than acknowledged. */
  lost: [] as string[],
}

interface Answer {
  status: number
  body: string
}

/**
 * Sends a request, and once more if its connection is refused: the request has not been sent then.
 */
function send(method: string, path: string, agent: Agent | false, body?: string): Promise<Answer> {
  return attempt(method, path, agent, body).catch(async (error) => {
    if (error.code !== 'ECONNREFUSED') throw error
    await sleep(REFUSED_MS)
    const answer = await attempt(method, path, agent, body)
    result.refused++
    return answer
  })
}

function attempt(method: string, path: string, agent: Agent | false, body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host, port: 5000, method, path, agent })
    let isAnswered = false
    outgoing.once('socket', () => {
      if (!outgoing.reusedSocket) result.connections++
    })
    outgoing.once('error', (error: NodeJS.ErrnoException) => {
      reject(Object.assign(error, { isStale: outgoing.reusedSocket && !isAnswered }))
    })
    outgoing.once('response', async (response: IncomingMessage) => {
      isAnswered = true
      try {
        const chunks = await response.setEncoding('utf8').toArray()
        resolve({ status: response.statusCode as number, body: chunks.join('') })
      } catch (error) {
        reject(error)
      }
    })
    outgoing.end(body)
  })
}

/**
 * Sends a request: once more on a new connection if the server has closed an idle one, and again
 * later if the service is overloaded.
 */
async function exchange(
  method: string,
  path: string,
  agent: Agent,
  body?: string,
): Promise<Answer | undefined> {
  const sendOnce = () =>
    send(method, path, agent, body).catch((error) => {
      if (!error.isStale || !['ECONNRESET', 'EPIPE'].includes(error.code)) throw error
      result.retried++
      return send(method, path, false, body)
    })
  try {
    let answer = await sendOnce()
    while (answer.status === 503 && answer.body.includes('overloaded')) {
      result.overloaded++
      await sleep(RETRY_MS)
      answer = await sendOnce()
    }
    const kind = answer.status < 500 ? `${answer.status}` : `${answer.status} ${answer.body}`
    result.answers[kind] = (result.answers[kind] ?? 0) + 1
    if (answer.status >= 500) result.unavailable = [result.unavailable[0] ?? Date.now(), Date.now()]
    return answer
  } catch (error) {
    const failure = `${method} ${(error as NodeJS.ErrnoException).code}`
    result.failed[failure] = (result.failed[failure] ?? 0) + 1
    const second = Math.floor(performance.now() / 1000)
    if (result.failedAt.at(-1) !== second) result.failedAt.push(second)
    return undefined
  }
}

/** The newest acknowledged version of each object, and the newest that was sent. */
const acknowledged = new Map<string, number>()
const sent = new Map<string, number>()

async function worker(number: number): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  for (let version = 0; !isStopping; version++) {
    const path = `/api/buckets/${number}-${version % IDS}`
    sent.set(path, version)
    const put = await exchange('PUT', path, agent, `${version}`)
    if (put !== undefined && put.status < 300) acknowledged.set(path, version)
    await exchange('GET', path, agent)
    await sleep(PAUSE_MS)
  }
  agent.destroy()
}

/**
 * Reads an object. Until the deadline, asks again if nobody answers or the engine cannot be used: no
 * object is lost by that.
 */
async function readBack(path: string, deadline: number): Promise<number | string> {
  for (; ; await sleep(PAUSE_MS)) {
    const { status, body } = await send('GET', path, false).catch(({ code }) => ({ status: 0, body: code }))
    if (status === 200) return Number(body)
    const isUnavailable = status === 0 || status === 503
    if (!isUnavailable || Date.now() > deadline) return `status ${status} ${body}`
  }
}

console.log('loading')
await Promise.all(Array.from({ length: CONNECTIONS }, (_, number) => worker(number)))
result.acknowledged = acknowledged.size
const deadline = Date.now() + READ_BACK_MS
for (const [path, version] of acknowledged) {
  const found = await readBack(path, deadline)
  const isKept = typeof found === 'number' && found >= version && found <= (sent.get(path) as number)
  if (!isKept) result.lost.push(`${path}: ${found} instead of ${version}`)
}
console.log(JSON.stringify(result))

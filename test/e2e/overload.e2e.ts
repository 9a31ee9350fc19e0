import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type Answer, Client, get, put } from './clients.ts'
import { docker } from './docker.ts'
import { requireTool } from './require-tool.ts'
import { isAlive, quantile, type Service, start } from './service.ts'

requireTool('docker', 'compose', 'version')

/** How long the service runs at half of what it can serve, in seconds. */
const HALF_LOAD_SECONDS = Number(process.env.HALF_LOAD_SECONDS || 60)

/**
 * The interval of src/plugins/overload.ts. After this time without load nothing is rejected any
 * more.
 */
const INTERVAL_MS = 300

/** Makes the next request, in the parts that a client sends. */
type NextRequest = () => string[]

/** The beginning of an id of 500 characters. */
const LONG_ID = 'x'.repeat(497)

/** A request that costs much more than its rejection. Only then does rejecting help. */
const listing: NextRequest = () => [get('/api/buckets?limit=1000')]

/** Ordinary traffic: writes, reads and short listings in turn. */
function mixed(): NextRequest {
  let n = 0
  return () => {
    const path = `/api/buckets/${LONG_ID}${n % 1000}`
    const requests = [[put(path, 100), 'x'.repeat(100)], [get(path)], [get('/api/buckets')]]
    return requests[n++ % requests.length] as string[]
  }
}

interface Outcome extends Pick<Answer, 'status' | 'head'> {
  ms: number
}

async function ask(client: Client, request: string[]): Promise<Outcome> {
  const begun = performance.now()
  const { status, head } = await client.send(...request)
  return { status, head, ms: performance.now() - begun }
}

/**
 * Opens connections and stores 1,000 objects with long ids, so that a page has 600 kB. The
 * connections are closed after the test.
 */
async function connectAll(t: Test, { target }: Service, connections: number): Promise<Client[]> {
  const clients = await Promise.all(
    Array.from({ length: connections }, async () => {
      const client = new Client(target)
      await client.send(get('/livez'))
      return client
    }),
  )
  t.after(() => {
    for (const { socket } of clients) socket.destroy()
  })
  for (let id = 0; id < 1000; id++) await clients[0]?.send(put(`/api/buckets/${LONG_ID}${id}`, 3), 'abc')
  return clients
}

/** Requests of clients that wait for the response before they send the next request. */
async function inTurn(clients: Client[], next: NextRequest, seconds: number): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  const end = performance.now() + seconds * 1000
  const loop = async (client: Client) => {
    while (performance.now() < end) outcomes.push(await ask(client, next()))
  }
  await Promise.all(clients.map(loop))
  return outcomes
}

/**
 * Sends this many requests per second, whatever their outcomes, as long as some client is not
 * waiting for a response.
 *
 * @returns the outcomes, and the number of requests that found no free client.
 */
async function atRate(clients: Client[], next: NextRequest, rate: number, seconds: number) {
  const idle = [...clients]
  const underWay = new Set<Promise<void>>()
  const outcomes: Outcome[] = []
  let unsent = 0
  const begun = performance.now()
  for (let due = 0, elapsed = 0; elapsed < seconds; elapsed = (performance.now() - begun) / 1000) {
    for (; due < elapsed * rate; due++) {
      const client = idle.shift()
      if (client === undefined) {
        unsent++
        continue
      }
      const asking = ask(client, next()).then((outcome) => {
        outcomes.push(outcome)
        idle.push(client)
        underWay.delete(asking)
      })
      underWay.add(asking)
    }
    await sleep(5)
  }
  await Promise.all(underWay)
  return { outcomes, unsent }
}

const withStatus = (outcomes: Outcome[], ...statuses: number[]) =>
  outcomes.filter(({ status }) => statuses.includes(status))

/** The p99 duration of the responses, in milliseconds. */
const p99 = (outcomes: Outcome[]) =>
  Math.round(
    quantile(
      outcomes.map(({ ms }) => ms),
      0.99,
    ),
  )

t.test(
  'at ten times what it can serve it refuses the excess, serves the rest in time, and is itself after it',
  async (t) => {
    const SECONDS = 10
    // Only a share of one core, so that the load has enough processor time.
    const service = await start(t, {}, '--cpus', '0.25')
    const clients = await connectAll(t, service, 1000)
    const few = clients.slice(0, 8)
    const capacity = async () => (await inTurn(few, listing, 5)).length / 5
    await capacity()
    const before = await capacity()
    const delays = monitorEventLoopDelay({ resolution: 5 })
    delays.enable()
    const { outcomes, unsent } = await atRate(clients, listing, 10 * before, SECONDS)
    delays.disable()
    await sleep(INTERVAL_MS)
    const refusedAfter = withStatus(await inTurn(few, listing, 1), 503)
    const alone = (before + (await capacity())) / 2

    const accepted = withStatus(outcomes, 200)
    const refused = withStatus(outcomes, 503)
    // The load shares the machine. While the load is stopped, it does not see the responses that
    // arrive.
    const ownDelay = Math.round(delays.max / 1e6)
    t.comment(
      `${Math.round(alone)} requests/s alone; of ${outcomes.length + unsent} in ${SECONDS} s ${accepted.length} answered, ` +
        `99 % within ${p99(accepted)} ms (the load stood still for ${ownDelay} ms), ` +
        `${refused.length} refused, ${unsent} not sent`,
    )
    t.equal(outcomes.length, accepted.length + refused.length, 'nothing but 200 and 503')
    t.ok(refused.length > accepted.length)
    t.ok(refused.every(({ head }) => /\r\nretry-after: 1\r\n/i.test(head)))
    t.ok(p99(accepted) - ownDelay < 1500, `99 % of what was accepted within ${p99(accepted)} ms`)
    // Much of the remaining time goes into nine rejections per response.
    t.ok(accepted.length / SECONDS > alone / 3, `${accepted.length / SECONDS} of ${alone} requests/s`)
    t.strictSame(refusedAfter, [], 'one interval after it nothing is refused')
    await isAlive(t, service)
  },
)

t.test('a process that is stopped again and again refuses nothing, and answers everything', async (t) => {
  const service = await start(t, {})
  const clients = await connectAll(t, service, 64)
  let isOver = false
  const statuses: Record<string, number> = {}
  const loops = clients.map(async (client) => {
    const next = mixed()
    while (!isOver) {
      const { status } = await ask(client, next())
      statuses[status] = (statuses[status] ?? 0) + 1
    }
  })
  for (const seconds of [...Array(20).fill(0.7), ...Array(3).fill(5)]) {
    await docker('kill', '--signal', 'STOP', service.container)
    await sleep(seconds * 1000)
    await docker('kill', '--signal', 'CONT', service.container)
    await sleep(200)
  }
  isOver = true
  await Promise.all(loops)
  t.comment(JSON.stringify(statuses))
  t.strictSame(Object.keys(statuses), ['200', '204'])
  await isAlive(t, service)
})

t.test('with a tenth of a core, and half of what it can serve with that, it refuses nothing', async (t) => {
  // The image's health check, every 30 s, uses the same share of the core.
  const service = await start(t, {}, '--cpus', '0.1')
  const clients = await connectAll(t, service, 64)
  const traffic = mixed()
  await inTurn(clients, traffic, 5)
  const capacity = (await inTurn(clients, traffic, 10)).length / 10
  const { outcomes, unsent } = await atRate(clients, traffic, capacity / 2, HALF_LOAD_SECONDS)
  const refused = withStatus(outcomes, 503)
  t.comment(
    `${capacity} requests/s alone; ${outcomes.length} in ${HALF_LOAD_SECONDS} s, ` +
      `99 % within ${p99(outcomes)} ms, ${refused.length} refused, ${unsent} not sent`,
  )
  t.strictSame(refused, [])
  t.equal(withStatus(outcomes, 200, 204).length, outcomes.length, 'nothing but 200 and 204')
  await isAlive(t, service)
})

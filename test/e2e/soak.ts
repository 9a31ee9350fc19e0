/**
 * Runs ordinary and misbehaving clients against a container of the service for ten minutes, or for
 * SECONDS: `npm run soak`. Fails if memory, files or series grow, if a response is not one of the
 * API, or if an acknowledged object is lost. Prints a line of figures every ten seconds.
 */
import { randomBytes, randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { median } from '../../scripts/bench/compare.ts'
import { abort, MANNERS, PHASE_NAMES, slowBody, slowHeaders, slowReader } from './abuse.ts'
import { Client, get, put, type Target } from './clients.ts'
import { docker } from './docker.ts'
import { type Service, scrape, startService } from './service.ts'

const SECONDS = Number(process.env.SECONDS || 600)
const SAMPLE_SECONDS = 10
const WRITERS = 16
const IDS_A_WRITER = 100
const SIZES = [0, 100, 100, 100, 100, 100, 1000, 10_000, 10_000, 1_000_000]
const LONG = '/api/buckets/long'

/** The highest value of each at the end, divided by its value at the start. */
const MAX_GROWTH = 1.1

const problems: string[] = []
const answers: Record<string, number> = {}
const deadline = Date.now() + SECONDS * 1000
const isOver = () => Date.now() > deadline

function check(isSo: boolean, problem: string): void {
  if (isSo) return
  problems.push(problem)
  console.log(`PROBLEM: ${problem}`)
}

/** Sends a request and counts the response, which must be one of the allowed ones. */
async function ask(client: Client, allowed: number[], ...request: (string | Buffer)[]) {
  const answer = await client.send(...request)
  answers[answer.status] = (answers[answer.status] ?? 0) + 1
  check([...allowed, 503].includes(answer.status), `${request[0]?.slice(0, 40)}: ${answer.head}`)
  return answer
}

/** Writes and reads its own ids. It knows the bytes of each object, or that there is none. */
async function write(target: Target, writer: number): Promise<void> {
  const client = new Client(target)
  const objects = new Map<string, Buffer>()
  const read = async (path: string) => {
    const { status, body } = await ask(client, [200, 404], get(path))
    const expected = objects.get(path)
    if (status === 503) return
    check(
      expected === undefined ? status === 404 : body.equals(expected),
      `${path} is not what was acknowledged`,
    )
  }
  while (!isOver()) {
    const path = `/api/buckets/${writer}-${randomInt(IDS_A_WRITER)}`
    const dice = randomInt(10)
    if (dice < 5) {
      await read(path)
    } else if (dice < 9) {
      const bytes = randomBytes(SIZES[randomInt(SIZES.length)] as number)
      const { status } = await ask(client, [201, 204, 507], put(path, bytes.length), bytes)
      if (status < 300) objects.set(path, bytes)
    } else {
      const { status } = await ask(client, [204, 404], `DELETE ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
      if (status === 204) objects.delete(path)
    }
  }
  for (const path of objects.keys()) await read(path)
  client.socket.destroy()
}

/** Starts some misbehaving clients of each kind every second. */
async function misbehave(target: Target): Promise<void> {
  for (let round = 0; !isOver(); round++) {
    for (const open of [slowHeaders, slowBody, slowReader(LONG)])
      for (let i = 0; i < 5; i++) {
        const socket = open(target)
        setTimeout(() => socket.destroy(), 10_000).unref()
      }
    for (const phase of PHASE_NAMES) for (const manner of MANNERS) await abort(target, LONG, phase, manner)
    const client = new Client(target)
    const name = `${round}-${Math.random()}`
    await ask(client, [404], get(`/${name}`))
    await ask(client, [400, 404, 405], `ODD${round} /api/buckets/${name} HTTP/1.1\r\nHost: a\r\n\r\n`)
    client.socket.destroy()
    const other = new Client(target)
    await ask(other, [200], get('/api/buckets?limit=1000'))
    await ask(other, [201, 507], put(`/api/buckets/${name}?ttl=5`, 1000), randomBytes(1000))
    await ask(other, [413], put(`/api/buckets/${name}`, 17 * 2 ** 20), Buffer.alloc(17 * 2 ** 20))
    other.socket.destroy()
    await sleep(500)
  }
}

interface Sample {
  residentBytes: number
  files: number
  series: number
}

async function sample(service: Service, samples: Sample[]): Promise<void> {
  while (!isOver()) {
    await sleep(SAMPLE_SECONDS * 1000)
    const page = await scrape(service)
    const figures = {
      residentBytes: page.process_resident_memory_bytes as number,
      files: page.process_open_fds as number,
      series: Object.keys(page).length,
    }
    samples.push(figures)
    console.log(JSON.stringify({ ...figures, objects: page.storage_objects, answers }))
  }
}

const service = await startService({
  ...{ DRAIN_SECONDS: '0', HEADERS_TIMEOUT_SECONDS: '5', REQUEST_TIMEOUT_SECONDS: '6' },
  ...{ RESPONSE_TIMEOUT_SECONDS: '5', STALL_TIMEOUT_SECONDS: '7' },
})
try {
  const { target } = service
  const client = new Client(target)
  await client.send(put(LONG, 8 * 2 ** 20), randomBytes(8 * 2 ** 20))
  client.socket.destroy()
  const samples: Sample[] = []
  const writers = Array.from({ length: WRITERS }, (_, writer) => write(target, writer))
  await Promise.all([...writers, misbehave(target), sample(service, samples)])

  // The first fifth of the time is warm-up.
  const fifth = Math.ceil(samples.length / 5)
  for (const figure of ['residentBytes', 'files', 'series'] as const) {
    const values = samples.map((sample) => sample[figure])
    const first = median(values.slice(fifth, 2 * fifth))
    const last = median(values.slice(-fifth))
    console.log(`${figure}: ${first} at first, ${last} at the end, ${(last / first).toFixed(2)}`)
    check(last <= first * MAX_GROWTH, `${figure} has grown`)
  }
  const [{ State, RestartCount }] = JSON.parse(await docker('inspect', service.container))
  check(State.Running && !State.OOMKilled && RestartCount === 0, 'not the same process')
} finally {
  await service.remove()
}
console.log(problems.length === 0 ? 'nothing lost, nothing grown' : `${problems.length} problems`)
process.exit(problems.length === 0 ? 0 : 1)

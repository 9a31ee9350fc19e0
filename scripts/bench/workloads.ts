/** The number of connections. Each has one request at a time. */
export const CONNECTIONS = 32

/** The path of a numbered object on a server, by method. */
type Paths = Record<'get' | 'put' | 'delete', (id: number) => string>

const bucket = (id: number) => `/api/buckets/${id}`

/**
 * The paths of the service and most other servers, and the paths of webdis, which are commands of
 * Redis.
 */
export const PATHS = {
  buckets: { get: bucket, put: bucket, delete: bucket },
  webdis: { get: (id) => `/GET/${id}.txt`, put: (id) => `/SET/${id}`, delete: (id) => `/DEL/${id}` },
} satisfies Record<string, Paths>

/** The objects that are stored first, and the requests that clients then send. */
export interface Workload {
  readonly objects: number
  readonly bytes: number
  /** The share of each method. The rest is GET. */
  readonly put?: number
  readonly delete?: number
  /** The headers of the measured requests, but not of those that store the objects first. */
  readonly headers?: string
  /** The path to request instead of an object. */
  readonly path?: string
  /** The expected status codes, by default those of a success. */
  readonly expected?: readonly string[]
}

const SUCCESS = ['200', '201', '204']

export const WORKLOADS = {
  'GET 100 B': { objects: 1000, bytes: 100 },
  'PUT 100 B': { objects: 1000, bytes: 100, put: 1 },
  'GET 64 KiB': { objects: 100, bytes: 64 * 1024 },
  'PUT 64 KiB': { objects: 100, bytes: 64 * 1024, put: 1 },
  'PUT 1 KiB + 1 B': { objects: 1000, bytes: 1025, put: 1 },
  'GET 32 of 64 KiB': {
    objects: 100,
    bytes: 64 * 1024,
    headers: 'Range: bytes=16384-49151\r\n',
    expected: ['206'],
  },
  'GET a listing': { objects: 1000, bytes: 100, path: '/api/buckets' },
  'GET 304': { objects: 1000, bytes: 100, headers: 'If-None-Match: *\r\n', expected: ['304'] },
  'GET 404': { objects: 1000, bytes: 100, path: '/api/buckets/none', expected: ['404'] },
  'PUT 412': { objects: 1000, bytes: 100, put: 1, headers: 'If-None-Match: *\r\n', expected: ['412'] },
  '1,000,000 of 100 B': { objects: 1_000_000, bytes: 100 },
  '100,000 of 1 KiB': { objects: 100_000, bytes: 1024 },
  '100 of 16 MiB': { objects: 100, bytes: 16 * 2 ** 20 },
  '80/15/5': { objects: 100_000, bytes: 100, put: 0.15, delete: 0.05, expected: [...SUCCESS, '404'] },
} satisfies Record<string, Workload>

export type WorkloadName = keyof typeof WORKLOADS

/** Random numbers from 0 to 1, the same in each run (mulberry32). */
function* randomNumbers(): Generator<number, never> {
  for (let state = 1; ; ) {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    yield ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Whether a workload expects this status code. */
export const isExpected = ({ expected = SUCCESS }: Workload, status: string) => expected.includes(status)

function formatter({ bytes, path, headers = '' }: Workload, paths: Paths) {
  const body = 'x'.repeat(bytes)
  return {
    get: (id: number) => `GET ${path ?? paths.get(id)} HTTP/1.1\r\nHost: a\r\n${headers}\r\n`,
    put: (id: number) =>
      `PUT ${paths.put(id)} HTTP/1.1\r\nHost: a\r\n${headers}Content-Length: ${bytes}\r\n\r\n${body}`,
    delete: (id: number) => `DELETE ${paths.delete(id)} HTTP/1.1\r\nHost: a\r\n\r\n`,
  }
}

/** A PUT of each object. */
export function* fill(workload: Workload, paths: Paths): Generator<string> {
  const { put } = formatter({ ...workload, headers: '' }, paths)
  for (let id = 0; id < workload.objects; id++) yield put(id)
}

/** A DELETE of each object. */
export function* empty(workload: Workload, paths: Paths): Generator<string> {
  const request = formatter(workload, paths)
  for (let id = 0; id < workload.objects; id++) yield request.delete(id)
}

/** The workload itself. It has no end. */
export function* ask(workload: Workload, paths: Paths): Generator<string> {
  const { put: puts = 0, delete: deletes = 0, objects } = workload
  const request = formatter(workload, paths)
  const random = randomNumbers()
  while (true) {
    const id = Math.floor(random.next().value * objects)
    const share = random.next().value
    if (share < puts) yield request.put(id)
    else if (share < puts + deletes) yield request.delete(id)
    else yield request.get(id)
  }
}

import t from 'tap'
import { loadConfig } from '../../src/plugins/config.ts'
import { type App, build, requestCount, scrape } from '../helper.ts'

const url = '/api/buckets/a'
const outcome = (operation: string, name: string) =>
  `storage_operations_total{operation="${operation}",outcome="${name}"}`

const statuses = async (app: App, method: 'GET' | 'HEAD' | 'PUT' | 'DELETE', times = 1) => {
  const codes: number[] = []
  for (let i = 0; i < times; i++) codes.push((await app.inject({ method, url, payload: 'x' })).statusCode)
  return codes
}

t.test(
  'DELETE=500@1 answers 500 to every DELETE that has succeeded, as the Python service did',
  async (t) => {
    const lines: Record<string, unknown>[] = []
    const app = build(t, { FAULTS: 'DELETE=500@1', LOG_LEVEL: 'warn' }, lines)
    t.strictSame(await statuses(app, 'PUT'), [201])
    const answer = await app.inject({ method: 'DELETE', url })
    t.equal(answer.statusCode, 500)
    t.strictSame(answer.json(), { error: 'internal server error' })
    t.strictSame(await statuses(app, 'GET'), [404], 'the object is gone')
    t.strictSame(await statuses(app, 'DELETE'), [404], 'a failure is what it was')
    t.match(lines, [
      { level: 'warn', faults: ['DELETE=500@1'], msg: /drill/ },
      {
        level: 'error',
        reqId: answer.headers['x-request-id'],
        err: { message: 'fault injected: DELETE=500@1' },
      },
    ])
    t.match(await scrape(app), {
      storage_api_faults: 1,
      storage_api_faults_injected_total: 1,
      http_requests_in_flight: 0,
      [requestCount('DELETE', '/api/buckets/:id', 500)]: 1,
      [outcome('delete', 'deleted')]: 1,
    })
  },
)

t.test('what a fault replaces leaves no header behind', async (t) => {
  const app = build(t, { FAULTS: 'GET=503@1,HEAD=502@1' })
  await statuses(app, 'PUT')
  const answer = await app.inject({ method: 'GET', url, headers: { 'x-request-id': 'mine' } })
  t.equal(answer.statusCode, 503)
  t.strictSame(answer.json(), { error: 'service unavailable' })
  const { date, connection, ...headers } = answer.headers
  t.strictSame(headers, {
    'x-request-id': 'mine',
    'content-type': 'application/json; charset=utf-8',
    'content-length': '31',
  })
  t.match(await app.inject({ method: 'HEAD', url }), { statusCode: 502, payload: '' })
})

t.test('a delay is a delay, and nothing else', async (t) => {
  const app = build(t, { FAULTS: 'PUT=delay:50ms@1' })
  const started = performance.now()
  t.strictSame(await statuses(app, 'PUT'), [201])
  t.ok(performance.now() - started >= 49)
  t.match(await scrape(app), { storage_api_faults_injected_total: 1 })
})

t.test('a fault strikes with its probability, its method, or every one', async (t) => {
  const app = build(t, { FAULTS: 'PUT=507@0.5,GET=500@0,*=504@1' })
  const puts = await statuses(app, 'PUT', 200)
  const full = puts.filter((status) => status === 507).length
  t.ok(full > 50 && full < 150, `${full} of 200`)
  t.equal(puts.filter((status) => status === 504).length, 200 - full)
  t.strictSame(await statuses(app, 'GET'), [504])
})

t.test('probes, scrapes and the documentation are exempt', async (t) => {
  const app = build(t, { FAULTS: '*=500@1,*=delay:59999ms@1' })
  for (const url of ['/livez', '/readyz', '/metrics', '/openapi.json']) {
    t.equal((await app.inject(url)).statusCode, 200, url)
  }
})

t.test('without FAULTS there is no fault, and the metrics say so', async (t) => {
  const lines: Record<string, unknown>[] = []
  const app = build(t, { LOG_LEVEL: 'warn' }, lines)
  t.strictSame(await statuses(app, 'PUT', 2), [201, 204])
  t.match(await scrape(app), { storage_api_faults: 0, storage_api_faults_injected_total: 0 })
  t.strictSame(lines, [])
})

t.test('what is no fault is refused, with what is allowed', async (t) => {
  const wrong = ['DELETE', 'DELETE=500', 'DELETE=200@1', 'POST=500@1', 'GET=500@1.5', 'GET=500@-1']
  wrong.push(
    'GET=delay:0ms@1',
    'GET=delay:60001ms@1',
    'GET=delay:1s@1',
    'GET=500@1,',
    'GET=500@1 PUT=500@1',
    'x',
  )
  for (const value of wrong) {
    t.throws(() => loadConfig({ FAULTS: value }), {
      message: `FAULTS must be METHOD=FAULT@PROBABILITY, or several separated by commas: GET, HEAD, PUT, DELETE or *; a status of 500, 502, 503, 504 or 507, or delay:1ms to delay:60000ms; 0 to 1, not ${JSON.stringify(value)}`,
    })
  }
  t.match(loadConfig({ FAULTS: 'DELETE=500@0.3,GET=delay:200ms@0.1' }).FAULTS, [
    { text: 'DELETE=500@0.3', method: 'DELETE', statusCode: 500, delayMs: 0, probability: 0.3 },
    { text: 'GET=delay:200ms@0.1', method: 'GET', statusCode: undefined, delayMs: 200, probability: 0.1 },
  ])
})

t.test('a delay as long as a request may stall is refused, because it would never be answered', async (t) => {
  const refused = (seconds: number, fault: string) => ({
    message: `FAULTS must delay less than STALL_TIMEOUT_SECONDS and RESPONSE_TIMEOUT_SECONDS, ${seconds} s, not "${fault}"`,
  })
  const fault = 'GET=delay:60000ms@0.1'
  t.throws(() => loadConfig({ FAULTS: fault }), refused(60, fault))
  t.throws(
    () => loadConfig({ FAULTS: `PUT=500@1,${fault}`, STALL_TIMEOUT_SECONDS: '59' }),
    refused(59, fault),
  )
  const other = { STALL_TIMEOUT_SECONDS: '61', RESPONSE_TIMEOUT_SECONDS: '2' }
  t.throws(() => loadConfig({ FAULTS: fault, ...other }), refused(2, fault))
  t.match(loadConfig({ FAULTS: fault, STALL_TIMEOUT_SECONDS: '61' }).FAULTS, [{ delayMs: 60_000 }])
  t.match(loadConfig({ FAULTS: 'GET=delay:59999ms@1' }).FAULTS, [{ delayMs: 59_999 }])
})

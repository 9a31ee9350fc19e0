import { readFileSync } from 'node:fs'
import t from 'tap'
import { parsePage, requestCount, until } from '../helper.ts'
import { run } from '../process.ts'
import { compose, docker, published, runContainer, startContainer, startStack } from './docker.ts'
import { eventually, query, type Sample } from './prometheus.ts'
import { requireTool } from './require-tool.ts'

requireTool('docker', 'compose', 'version')
requireTool('promtool', '--version')

const NODE_IMAGE = 'node:26-trixie-slim'
const BASE_IMAGE = 'gcr.io/distroless/nodejs26-debian13:nonroot'

await startStack(t, ['storage_api', 'prometheus'], { DRAIN_SECONDS: '3', LOG_LEVEL: 'debug' })

const container = await compose(['ps', '--quiet', 'storage_api'])
const [inspected] = JSON.parse(await docker('inspect', container))
const api = await published('storage_api', 5000)
const prometheus = await published('prometheus', 9090)

/** Evaluates JavaScript in the container of the service, with its user and sandbox. */
async function inContainer(script: string): Promise<unknown> {
  return JSON.parse(
    await docker('exec', container, '/nodejs/bin/node', '--input-type=module', '--eval', script),
  )
}

t.test('an idle service is small: below 90 MB resident', async (t) => {
  const page = await (await fetch(`${api}/metrics`)).text()
  const bytes = Number(/^process_resident_memory_bytes (\d+)$/m.exec(page)?.[1])
  t.ok(bytes > 0 && bytes < 90e6, `${bytes} bytes`)
})

t.test('the service listens within 1 second of its start, the median of three', async (t) => {
  const milliseconds: number[] = []
  for (let start = 0; start < 3; start++) {
    const { name, remove } = await startContainer(
      ...['--memory', '512m', '--env', 'DRAIN_SECONDS=0', inspected.Image],
    )
    const listening = await eventually(
      () => docker('logs', name),
      (logs) => logs.includes('"listening"'),
    )
    const started = Date.parse(await docker('inspect', '--format', '{{.State.StartedAt}}', name))
    milliseconds.push(JSON.parse(listening).time - started)
    await remove()
  }
  const [, median] = milliseconds.sort((a, b) => a - b)
  t.ok((median as number) < 1000, `${milliseconds} ms`)
})

t.test('the service is healthy within 10 seconds of its start', async (t) => {
  t.equal(inspected.State.Health.Status, 'healthy')
  const probe = inspected.State.Health.Log.find(({ ExitCode }: { ExitCode: number }) => ExitCode === 0)
  const milliseconds = Date.parse(probe.End) - Date.parse(inspected.State.StartedAt)
  t.ok(milliseconds < 10_000, `${milliseconds} ms`)
})

t.test('the image adds less than 25 MB to its base, and says what it is', async (t) => {
  const [image] = JSON.parse(await docker('image', 'inspect', inspected.Image))
  const [base] = JSON.parse(await docker('image', 'inspect', BASE_IMAGE))
  t.ok(image.Size - base.Size < 25e6, `${image.Size - base.Size} bytes`)
  t.match(image.Config.Labels, {
    'org.opencontainers.image.title': 'Storage API',
    'org.opencontainers.image.version': JSON.parse(readFileSync('package.json', 'utf8')).version,
    'org.opencontainers.image.revision': 'unknown',
  })
})

t.test(
  'in the container: a user of no privileges, no capabilities, no shell, nothing to write to',
  async (t) => {
    const found = (await inContainer(`
    import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
    const writable = [], shells = []
    function walk(directory) {
      try { writeFileSync(directory + '/written', 'x'); writable.push(directory) } catch {}
      let entries = []
      try { entries = readdirSync(directory, { withFileTypes: true }) } catch {}
      for (const entry of entries) {
        const path = (directory === '/' ? '' : directory) + '/' + entry.name
        if (/^(ba|da|z|c|k|a)?sh$|^busybox$/.test(entry.name)) shells.push(path)
        if (entry.isDirectory() && path !== '/proc' && path !== '/sys') walk(path)
      }
    }
    walk('/')
    const status = readFileSync('/proc/1/status', 'utf8')
    const field = (name) => status.match(new RegExp(name + ':\\\\s*(.*)'))[1].split('\\t')
    console.log(JSON.stringify({ writable, shells, uids: field('Uid'), gids: field('Gid'), capabilities: [...field('CapEff'), ...field('CapBnd')], noNewPrivileges: field('NoNewPrivs') }))
  `)) as Record<string, string[]>
    t.strictSame(found, {
      writable: [],
      shells: [],
      uids: Array(4).fill('65532'),
      gids: Array(4).fill('65532'),
      capabilities: Array(2).fill('0000000000000000'),
      noNewPrivileges: ['1'],
    })
    await t.rejects(docker('exec', container, 'sh', '-c', 'true'))
  },
)

t.test('ports are published to this machine only, unless BIND_ADDRESS says otherwise', async (t) => {
  for (const [env, expected] of [
    [{}, '127.0.0.1'],
    [{ BIND_ADDRESS: '0.0.0.0' }, '0.0.0.0'],
  ] as const) {
    const { services } = JSON.parse(await compose(['config', '--format', 'json'], env))
    t.strictSame(Object.keys(services).sort(), ['grafana', 'prometheus', 'storage_api'])
    for (const { ports } of Object.values<{ ports: { host_ip: string }[] }>(services)) {
      t.strictSame(
        ports.map(({ host_ip }) => host_ip),
        [expected],
      )
    }
  }
})

t.test('the whole file is valid with nothing set, every service hardened, every image pinned', async (t) => {
  const { services } = JSON.parse(await compose(['config', '--format', 'json']))
  for (const [name, service] of Object.entries<Record<string, unknown>>(services)) {
    t.match(
      service,
      { read_only: true, cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'], mem_limit: String },
      name,
    )
    t.match(service.image, /:v?\d+\.\d+\.\d+$/, name)
  }
})

t.test('Grafana has an administrator only when a password was given', async (t) => {
  const environment = async (env: Record<string, string>) =>
    JSON.parse(await compose(['config', '--format', 'json'], env)).services.grafana.environment
  t.match(await environment({}), {
    GF_SECURITY_ADMIN_PASSWORD: '',
    GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION: '',
  })
  t.match(readFileSync('compose/grafana/grafana.ini', 'utf8'), /^disable_initial_admin_creation = true$/m)
  t.match(await environment({ GRAFANA_ADMIN_PASSWORD: 'given' }), {
    GF_SECURITY_ADMIN_PASSWORD: 'given',
    GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION: 'false',
  })
})

t.test('a wrong setting stops the container with one line, and not with 0', async (t) => {
  const stderr = 'PORT must be an integer from 0 to 65535, not "abc"\n'
  t.strictSame(await runContainer('--env', 'PORT=abc', inspected.Image), { status: 1, stdout: '', stderr })
})

t.test(
  'Prometheus scrapes the service, and tells its traffic apart by method, path and status code',
  async (t) => {
    const { status, stderr } = await run(['scripts/generate_traffic.sh'], {
      env: { BASE_URL: api, DURATION: '20' },
    })
    t.equal(status, 0, stderr)

    const targets = await (await fetch(`${prometheus}/api/v1/targets`)).json()
    t.match((targets as { data: unknown }).data, {
      activeTargets: [{ scrapeUrl: 'http://storage_api:5000/metrics', health: 'up' }],
    })

    const promql = 'sum by (method, path, status_code) (rate(http_request_duration_seconds_count[1m])) > 0'
    const expected = ['PUT 201', 'PUT 204', 'GET 200', 'GET 404', 'DELETE 204', 'DELETE 404']
    const seen = (samples: Sample[]) =>
      samples
        .filter(({ metric }) => metric.path === '/api/buckets/:id')
        .map(({ metric }) => `${metric.method} ${metric.status_code}`)
    const samples = await eventually(
      () => query(prometheus, promql),
      (samples) => expected.every((labels) => seen(samples).includes(labels)),
    )
    for (const labels of expected) t.ok(seen(samples).includes(labels), labels)
    t.notOk(
      samples.some(({ metric }) => metric.status_code?.startsWith('5')),
      'no 5xx',
    )
    t.strictSame(
      new Set(samples.map(({ metric }) => metric.path)),
      new Set(['/api/buckets', '/api/buckets/:id', 'unmatched']),
    )
  },
)

t.test('promtool accepts the live page, which stays small', async (t) => {
  const page = await (await fetch(`${api}/metrics`)).text()
  const metrics = await run(['promtool', 'check', 'metrics'], { input: page })
  t.equal(metrics.status, 0, metrics.stderr)
  t.ok(page.length < 150_000, `${page.length} bytes`)
  const series = page.split('\n').filter((line) => line !== '' && !line.startsWith('#')).length
  t.ok(series < 1000, `${series} series`)
})

t.test('SIGTERM under load of 64 connections: exit 0 after the drain, no answer lost', async (t) => {
  const puts = async () => {
    const page = parsePage(await (await fetch(`${api}/metrics`)).text())
    return page[requestCount('PUT', '/api/buckets/:id', 204)] as number
  }
  const before = await puts()
  const loading = runContainer(
    ...['--network', `container:${container}`, '--volume', `${import.meta.dirname}:/e2e:ro`],
    ...[NODE_IMAGE, 'node', '/e2e/load.ts'],
  )
  await until(async () => (await puts()) > before + 1000)
  const signalled = Date.now()
  await compose(['stop', 'storage_api'])
  const seconds = (Date.now() - signalled) / 1000
  const { stdout, stderr } = await loading
  const result = JSON.parse(stdout.split('\n')[1] ?? `"${stderr}"`)

  const [{ State }] = JSON.parse(await docker('inspect', container))
  t.equal(State.ExitCode, 0)
  t.ok(seconds >= 3 && seconds < 6, `stopped ${seconds} s after SIGTERM, DRAIN_SECONDS is 3`)
  t.strictSame(
    Object.keys(result.answers),
    ['200', '201', '204'].filter((status) => result.answers[status]),
  )
  t.ok(result.closing > 64, `${result.closing} answers closed their connection`)
  t.strictSame(result.lost, [], `${JSON.stringify(result.answers)}, refused ${result.refused}`)
})

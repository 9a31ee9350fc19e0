import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { guard } from '../process.ts'
import { isOfEngine, panels, promql } from './dashboard.ts'
import { compose, docker, published, startStack } from './docker.ts'
import { eventually, query } from './prometheus.ts'
import { requireTool } from './require-tool.ts'

requireTool('docker', 'compose', 'version')

/** The file and the settings that the documentation tells an operator to create. */
const PASSWORD_FILE = 'compose/valkey/secret/password'
const SETTINGS = {
  STORAGE_URL: 'redis://valkey:6379',
  STORAGE_PASSWORD_FILE: '/run/secrets/valkey/password',
  DRAIN_SECONDS: '0',
}
const PROFILE = ['--profile', 'valkey']
const valkey = (...args: string[]) => compose([...PROFILE, ...args], SETTINGS)

if (!existsSync(PASSWORD_FILE)) {
  const release = guard('rm', '-f', PASSWORD_FILE)
  t.teardown(() => {
    rmSync(PASSWORD_FILE)
    release()
  })
  writeFileSync(PASSWORD_FILE, 'a-password-of-the-test')
}
await startStack(t, ['storage_api', 'prometheus', 'valkey'], SETTINGS, PROFILE)

const url = async (id: string) => `${await published('storage_api', 5000)}/api/buckets/${id}`
const put = async (id: string, body: string) => fetch(await url(id), { method: 'PUT', body })
const status = async (path: string) => (await fetch(`${await published('storage_api', 5000)}${path}`)).status

t.test('what was stored survives a restart of everything', async (t) => {
  const answer = await put('kept', 'hello')
  t.equal(answer.status, 201)
  await valkey('restart', 'storage_api', 'prometheus', 'valkey')
  const again = await eventually(
    async () => fetch(await url('kept')).catch(() => undefined),
    (answer) => answer?.status === 200,
  )
  t.equal(again?.headers.get('etag'), answer.headers.get('etag'))
  t.equal(await again?.text(), 'hello')
})

t.test('the server asks for the password, and forgets nothing for want of memory', async (t) => {
  const container = await valkey('ps', '--quiet', 'valkey')
  const cli = (...args: string[]) => docker('exec', container, ...args)
  t.match(await cli('valkey-cli', 'ping'), /NOAUTH/)
  const password = readFileSync(PASSWORD_FILE, 'utf8').trim()
  const get = (name: string) => cli('env', `REDISCLI_AUTH=${password}`, 'valkey-cli', 'config', 'get', name)
  t.match(await get('maxmemory-policy'), /noeviction/)
  t.match(await get('appendonly'), /yes/)
  t.match(await get('maxmemory'), /335544320/)
})

t.test('the queries of the dashboard about the engine return data', async (t) => {
  const prometheus = await published('prometheus', 9090)
  const queries = panels.filter(isOfEngine).flatMap(({ targets }) => targets.map(({ expr }) => promql(expr)))
  t.not(queries.length, 0)
  for (const expr of queries) {
    const samples = await eventually(
      async () => {
        await put('measured', 'x')
        return query(prometheus, expr)
      },
      (samples) => samples.length > 0,
    )
    t.not(samples.length, 0, expr)
  }
})

t.test(
  'without its engine the service is alive but not ready, says so, and comes back by itself',
  async (t) => {
    await valkey('stop', 'valkey')
    await eventually(
      () => status('/readyz'),
      (status) => status === 503,
    )
    t.equal(await status('/livez'), 200)
    const answer = await fetch(await url('kept'))
    t.equal(answer.status, 503)
    t.ok(answer.headers.get('retry-after'))
    const prometheus = await published('prometheus', 9090)
    const alert = 'ALERTS{alertname="StorageApiEngineDown"}'
    t.not(
      (
        await eventually(
          () => query(prometheus, alert),
          (samples) => samples.length > 0,
        )
      ).length,
      0,
    )
    await valkey('start', 'valkey')
    const again = await eventually(
      async () => fetch(await url('kept')),
      (answer) => answer.status === 200,
    )
    t.equal(await again.text(), 'hello')
  },
)

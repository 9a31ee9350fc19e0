import { join } from 'node:path'
import t from 'tap'
import { stringify } from 'yaml'
import { lacking, run } from '../process.ts'

/** A context of kubectl whose cluster nobody can reach. */
const context = { name: 'production', context: { cluster: 'nowhere', user: 'nobody' } }
const CONFIG = {
  apiVersion: 'v1',
  kind: 'Config',
  clusters: [{ name: 'nowhere', cluster: { server: 'https://127.0.0.1:1' } }],
  users: [{ name: 'nobody', user: {} }],
  contexts: [context],
}
const PROGRAM = 'test/e2e/kubernetes/load-image.ts'

const folder = t.testdir({
  named: stringify({ ...CONFIG, 'current-context': context.name }),
  unnamed: stringify(CONFIG),
})
async function load(config: string, env: Record<string, string> = {}) {
  const { status, stderr } = await run([process.execPath, PROGRAM], {
    env: { KUBECONFIG: join(folder, config), ...env },
  })
  return { status, stderr }
}

t.test(
  'npm run e2e:kubernetes changes only a cluster that it was given by name',
  { skip: lacking('kubectl') },
  async (t) => {
    const refusal =
      'the current context of kubectl is production: set KUBE_CONTEXT=production to let the tests change it\n'
    t.strictSame(await load('named'), { status: 1, stderr: refusal })
    t.strictSame(await load('named', { KUBE_CONTEXT: 'kind-kind' }), { status: 1, stderr: refusal })
    t.strictSame(await load('named', { KUBE_CONTEXT: 'production' }), { status: 0, stderr: '' })
    t.strictSame(await load('unnamed', { KUBE_CONTEXT: 'production' }), {
      status: 1,
      stderr: 'kubectl has no current context\n',
    })
  },
)

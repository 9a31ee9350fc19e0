import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { guard } from '../../process.ts'
import {
  ENV,
  evaluate,
  get,
  inNamespace,
  kubectl,
  overlay,
  podOf,
  pods,
  REPOSITORY,
  settled,
  startScript,
  TIMEOUT,
  tryKubectl,
} from './cluster.ts'
import { reaches, startStrangers } from './reach.ts'

const ROLLOUTS = 10
const PART_OF = 'app.kubernetes.io/part-of=storage-api'
const DEPLOYMENT = 'deployment/storage-api'
const CLIENT = readFileSync(join(import.meta.dirname, 'client.ts'), 'utf8')

interface Result {
  answers: Record<string, number>
  connections: number
  retried: number
  failed: Record<string, number>
  unavailable: number[]
  acknowledged: number
  lost: string[]
}

/**
 * Loads the service by 64 connections through its Service while something happens, and returns the
 * client's result.
 */
async function under(name: string, happen: () => Promise<void>, node?: string): Promise<Result> {
  const { spec } = await get<{ spec: { clusterIP: string } }>('service', 'storage-api')
  await startScript(name, CLIENT, { labels: { 'storage-api-client': 'true' }, args: [spec.clusterIP], node })
  const start = performance.now()
  await happen()
  await evaluate(name, `process.kill(1, 'SIGTERM'); console.log(true)`)
  const seconds = (performance.now() - start) / 1000
  await inNamespace('wait', '--for=jsonpath={.status.phase}=Succeeded', `pod/${name}`, TIMEOUT)
  const [, line = ''] = (await inNamespace('logs', name)).split('\n')
  const result: Result = JSON.parse(line)
  t.comment(`${seconds.toFixed(0)} s: ${JSON.stringify({ ...result, lost: result.lost.length })}`)
  return result
}

/** Asserts that no request failed. */
function isUnharmed(t: Test, { answers, failed, connections, retried }: Result): void {
  t.strictSame(failed, {}, 'every request has an answer')
  t.strictSame(
    Object.keys(answers).filter((answer) => Number.parseInt(answer, 10) >= 500),
    [],
    'no answer of 500 or above',
  )
  t.ok(connections > 64, `${connections} connections: some had to move`)
  t.comment(`${retried} requests sent again on a new connection`)
}

const rollout = (...args: string[]) => inNamespace('rollout', ...args)
const settle = () => rollout('status', DEPLOYMENT, TIMEOUT)

/** Rolls out again and again, and then returns to the version before. */
async function rollOut(): Promise<void> {
  for (let number = 0; number < ROLLOUTS; number++) {
    await rollout('restart', DEPLOYMENT)
    await settle()
  }
  await rollout('undo', DEPLOYMENT)
  await settle()
}

async function deletePod(): Promise<void> {
  const [pod] = await pods('storage-api')
  await inNamespace('delete', 'pod', pod?.metadata.name as string)
  await settle()
}

t.test(`in memory: no request fails in ${ROLLOUTS} rollouts and an undo`, async (t) => {
  await kubectl(['apply', '--kustomize', join(REPOSITORY, 'k8s')])
  await settled()
  isUnharmed(t, await under('client-memory', rollOut))
})

t.test('in memory: a deleted pod cuts no connection that it has accepted', async (t) => {
  const { failed } = await under('client-deletion', deletePod)
  // Kubernetes starts the next pod only then. No pod may listen until it is ready.
  const refused = ['PUT ECONNREFUSED', 'GET ECONNREFUSED']
  t.strictSame(
    Object.keys(failed).filter((failure) => !refused.includes(failure)),
    [],
  )
})

t.test('the components valkey and replicated take over a running stack', async (t) => {
  await inNamespace('create', 'secret', 'generic', 'valkey', `--from-literal=password=${crypto.randomUUID()}`)
  const { status, stderr } = await tryKubectl('apply', '--kustomize', overlay('valkey', 'replicated'))
  t.equal(status, 0)
  t.equal(stderr, '')
  // The autoscaler's minimum.
  await inNamespace('wait', '--for=jsonpath={.status.readyReplicas}=3', DEPLOYMENT, TIMEOUT)
  await settled()
  const nodes = new Set((await pods('storage-api')).map(({ spec }) => spec.nodeName))
  t.comment(`3 replicas on ${nodes.size} nodes`)
})

t.test(`replicated: no request fails in ${ROLLOUTS} rollouts, an undo and a deletion`, async (t) => {
  const result = await under('client-replicated', async () => {
    await rollOut()
    await deletePod()
  })
  isUnharmed(t, result)
  t.strictSame(result.lost, [], `${result.acknowledged} acknowledged objects`)
})

t.test('replicated: no request fails while a node is drained', async (t) => {
  // The engine and its volume stay where they are.
  const { nodeName } = (await podOf('valkey')).spec
  const other = (await pods('storage-api')).find(({ spec }) => spec.nodeName !== nodeName)?.spec.nodeName
  if (other === undefined) return void t.pass('drain', { skip: 'no replica on a node without the engine' })
  const uncordon = ['uncordon', other]
  const release = guard('env', `KUBECONFIG=${ENV.KUBECONFIG}`, 'kubectl', ...uncordon)
  const drain = async () => {
    // Of this stack alone: the cluster may be used by others.
    const options = ['--ignore-daemonsets', '--delete-emptydir-data', `--pod-selector=${PART_OF}`]
    await kubectl(['drain', other, ...options, TIMEOUT])
    await inNamespace('wait', '--for=jsonpath={.status.readyReplicas}=3', DEPLOYMENT, TIMEOUT)
    await kubectl(uncordon)
  }
  const result = await under('client-drain', drain, nodeName)
  release()
  isUnharmed(t, result)
  t.strictSame(result.lost, [], `${result.acknowledged} acknowledged objects`)
})

t.test('replicated: nothing acknowledged is lost with the pod of the engine', async (t) => {
  const result = await under('client-engine', async () => {
    // Meanwhile clients store objects.
    await rollout('restart', DEPLOYMENT)
    await settle()
    await inNamespace('delete', 'pod', (await podOf('valkey')).metadata.name)
    await inNamespace('rollout', 'status', 'statefulset/valkey', TIMEOUT)
    await inNamespace('wait', '--for=condition=Available', DEPLOYMENT, TIMEOUT)
  })
  t.strictSame(result.lost, [], `${result.acknowledged} acknowledged objects`)
  const [first = 0, last = 0] = result.unavailable
  t.comment(`answers of 503 for ${(last - first) / 1000} s`)
})

t.test('the network policies let pass what the components need, and nothing else', async (t) => {
  await startStrangers()
  await reaches(t, ['storage-api', 'valkey', 'prometheus', 'grafana'], {
    admitted: ['storage-api', 'DNS'],
    elsewhere: ['outside', 'API server', 'DNS'],
    'storage-api': ['valkey', 'DNS'],
    prometheus: ['storage-api', 'API server', 'DNS'],
    grafana: ['prometheus', 'DNS'],
  })
})

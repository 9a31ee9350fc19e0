import { readdirSync, readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { eventually } from '../prometheus.ts'
import {
  evaluate,
  forward,
  get,
  inNamespace,
  kubectl,
  NAMESPACE,
  OTHER_NAMESPACE,
  podOf,
  REPOSITORY,
  TIMEOUT,
  tryKubectl,
} from './cluster.ts'
import { reaches, startStrangers } from './reach.ts'

const K8S = `${REPOSITORY}/k8s`
const seconds = (since: number) => `${((performance.now() - since) / 1000).toFixed(1)} s`

/** A rule, as it is written or as Prometheus has it. */
interface Rule {
  record?: string
  alert?: string
  name: string
  health: string
}

/** What Prometheus answers about its targets, or about its rules. */
interface Found {
  activeTargets: { health: string; labels: Record<string, string> }[]
  groups: { rules: Rule[] }[]
}

/** The names of all objects that are in no namespace. */
async function clusterScoped(): Promise<string[]> {
  const kinds = await kubectl(['api-resources', '--namespaced=false', '--verbs=list', '--output=name'])
  const listed = kinds.split('\n').filter((kind) => kind !== 'componentstatuses')
  return (await kubectl(['get', listed.join(','), '--output=name', '--ignore-not-found'])).split('\n').sort()
}
const before = await clusterScoped()

t.test('apply makes everything ready, without a warning', async (t) => {
  const start = performance.now()
  const { status, stderr } = await tryKubectl('apply', '--kustomize', K8S)
  t.equal(status, 0)
  t.equal(stderr, '')
  await inNamespace('wait', '--for=condition=Available', 'deployment', '--all', TIMEOUT)
  t.comment(`all Deployments available after ${seconds(start)}`)
})

t.test('a second apply changes nothing, and diff finds nothing', async (t) => {
  const applied = (await kubectl(['apply', '--kustomize', K8S])).split('\n')
  t.strictSame(
    applied.filter((line) => !line.endsWith(' unchanged')),
    [],
  )
  const { status, stdout } = await tryKubectl('diff', '--kustomize', K8S)
  t.equal(stdout, '')
  t.equal(status, 0)
})

t.test('the pods keep to the newest restricted standard, and nothing was forbidden', async (t) => {
  const label = 'pod-security.kubernetes.io/enforce-version=latest'
  const checked = await tryKubectl('label', '--dry-run=server', '--overwrite', 'namespace', NAMESPACE, label)
  t.equal(checked.status, 0)
  t.equal(checked.stderr, '')
  const { items } = await get<{ items: { reason: string; message: string }[] }>(
    'events',
    '--field-selector=type=Warning',
  )
  t.strictSame(
    items.filter(({ message }) => /PodSecurity|forbidden/.test(message)),
    [],
  )
  for (const { reason, message } of items) t.comment(`warning: ${reason}: ${message}`)
})

t.test('the network policies let pass what the stack needs, and nothing else', async (t) => {
  await startStrangers()
  await reaches(t, ['storage-api', 'prometheus', 'grafana'], {
    admitted: ['storage-api', 'DNS'],
    elsewhere: ['outside', 'API server', 'DNS'],
    prometheus: ['storage-api', 'API server', 'DNS'],
    grafana: ['prometheus', 'DNS'],
  })
})

t.test('an admitted pod stores an object and reads it by the name of the Service', async (t) => {
  const answers = await evaluate(
    'admitted',
    `
    const url = 'http://storage-api:5000/api/buckets/greeting'
    const put = await fetch(url, { method: 'PUT', body: 'hello' })
    const get = await fetch(url)
    console.log(JSON.stringify([put.status, get.status, await get.text()]))`,
  )
  t.strictSame(answers, [201, 200, 'hello'])
})

t.test('Prometheus scrapes each pod under its name, and has every rule', async (t) => {
  const prometheus = await forward(t, 'service/prometheus', 9090)
  const ask = async (path: string) =>
    ((await (await fetch(`${prometheus}/api/v1/${path}`)).json()) as { data: Found }).data
  const pod = await podOf('storage-api')
  const targets = await eventually(
    async () => (await ask('targets?state=active')).activeTargets,
    (targets) => targets.length === 1 && targets[0]?.health !== 'unknown',
  )
  t.match(targets, [{ health: 'up', labels: { job: 'storage_api', instance: pod.metadata.name } }])

  const { groups } = await ask('rules')
  const rules = (groups: { rules: Rule[] }[]) => groups.flatMap(({ rules }) => rules)
  const written = ['rules.yml', 'alerts.yml'].flatMap((file) =>
    rules(parse(`${readFileSync(`compose/prometheus/${file}`)}`).groups),
  )
  t.strictSame(
    rules(groups)
      .map((rule) => rule.name)
      .sort(),
    written.map((rule) => `${rule.record ?? rule.alert}`).sort(),
  )
  t.strictSame(
    rules(groups).filter((rule) => rule.health === 'err'),
    [],
  )
  t.comment(`${written.length} rules`)
})

/** Replaces the service's pod, so that no earlier test has any effect on it. */
async function replacePod() {
  await inNamespace('delete', 'pod', (await podOf('storage-api')).metadata.name)
  await inNamespace('wait', '--for=condition=Available', 'deployment/storage-api', TIMEOUT)
  return podOf('storage-api')
}

t.test('the store refuses what does not fit with 507, and the pod keeps running', async (t) => {
  await replacePod()
  const { stored, again, bytes } = await evaluate<{ stored: number; again: number[]; bytes: number }>(
    'admitted',
    `
    const host = 'http://storage-api:5000'
    const exchange = async (method, id, body) => {
      const response = await fetch(host + '/api/buckets/' + id, { method, body })
      await response.arrayBuffer()
      return response.status
    }
    let stored = 0
    const fill = async (size) => {
      const body = Buffer.alloc(size)
      for (let status = 201; status === 201; stored++) status = await exchange('PUT', crypto.randomUUID(), body)
      stored--
    }
    for (const size of [2 ** 20, 2 ** 16, 2 ** 10, 1]) await Promise.all(Array.from({ length: 8 }, () => fill(size)))
    const again = [await exchange('PUT', 'more', 'x')]
    const page = await (await fetch(host + '/metrics')).text()
    const bytes = Number(/^process_resident_memory_bytes (\\d+)$/m.exec(page)[1])
    console.log(JSON.stringify({ stored, again, bytes }))`,
  )
  t.strictSame(again, [507])
  t.comment(`507 after ${stored} objects, with ${Math.round(bytes / 2 ** 20)} MiB resident`)
  const pod = await podOf('storage-api')
  t.match(pod.status.containerStatuses, [{ ready: true, restartCount: 0, lastState: {} }])
  t.strictSame(pod.status.containerStatuses[0]?.lastState, {})
})

/** The process of a pod of the service, or undefined where its node is another machine. */
function processOf(uid: string): number | undefined {
  const uids = [uid, uid.replaceAll('-', '_')]
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const read = (file: string) => readFileSync(`/proc/${pid}/${file}`, 'latin1')
      if (read('cmdline').includes('dist/server.js') && uids.some((uid) => read('cgroup').includes(uid)))
        return Number(pid)
    } catch {
      // It has ended.
    }
  }
  return undefined
}

/**
 * Sends a signal to the service's process in a new pod, and waits until the kubelet has replaced
 * the process.
 */
async function replaceProcess(t: Test, signal: 'SIGKILL' | 'SIGSTOP'): Promise<void> {
  const pid = processOf((await replacePod()).metadata.uid)
  if (pid === undefined) return void t.pass('the process', { skip: 'the nodes are other machines' })
  const start = performance.now()
  process.kill(pid, signal)
  const restarts = '{.status.containerStatuses[0].restartCount}'
  const { metadata } = await podOf('storage-api')
  await inNamespace('wait', `--for=jsonpath=${restarts}=1`, `pod/${metadata.name}`, TIMEOUT)
  await inNamespace('wait', '--for=condition=Ready', `pod/${metadata.name}`, TIMEOUT)
  t.comment(`ready again ${seconds(start)} after ${signal}`)
  const { status } = await podOf('storage-api')
  t.match(status.containerStatuses, [
    { ready: true, restartCount: 1, lastState: { terminated: { exitCode: 137 } } },
  ])
}

t.test('a process that is killed is replaced in its pod', (t) => replaceProcess(t, 'SIGKILL'))

t.test('a process that is frozen is replaced in its pod', (t) => replaceProcess(t, 'SIGSTOP'))

t.test('delete leaves nothing in the cluster', async (t) => {
  await kubectl(['delete', '--kustomize', K8S, TIMEOUT])
  t.equal(await kubectl(['get', 'namespace', NAMESPACE, '--ignore-not-found', '--output=name']), '')
  const more = await eventually(
    async () =>
      (await clusterScoped()).filter(
        (name) => !before.includes(name) && name !== `namespace/${OTHER_NAMESPACE}`,
      ),
    (more) => more.length === 0,
  )
  t.strictSame(more, [])
})

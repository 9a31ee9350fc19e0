/** docs/kubernetes.md: every command in it is run, in its order. */
import { once } from 'node:events'
import { openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { freePorts, guard, start } from '../../process.ts'
import { ENV, inNamespace, kubectl, NAMESPACE, REPOSITORY, TIMEOUT } from './cluster.ts'

const DOCUMENT = 'docs/kubernetes.md'
const TRAFFIC_SECONDS = '5'
const CRDS = ['ServiceMonitor', 'PrometheusRule']
const GROUP = 'monitoring.coreos.com'

/** The document tells of this warning. */
const ANNOUNCED = /Rolling back will not update/

/** A block of commands. */
interface Block {
  line: number
  /** What it needs besides kubectl: the second word after the fence. */
  needs: string
  script: string
}

const page = readFileSync(DOCUMENT, 'utf8')
const blocks = [...page.matchAll(/^( *)```sh *(\w*)\n([\s\S]*?)^ *```$/gm)].map(
  ({ index, 2: needs = '', 3: script = '' }): Block => ({
    line: page.slice(0, index).split('\n').length,
    needs,
    script,
  }),
)
/** Docker is here if a command loads the image that it builds. */
const isRunnable = ({ needs }: Block) =>
  needs === '' || (needs === 'docker' && process.env.LOAD_IMAGE !== undefined)

/** What the document opens on this machine, and where the test opens it: a port that is free. */
const PORTS = ['5000', '9090', '3000']
const free = (await freePorts(PORTS.length)).map(String)
const onFreePorts = (script: string) =>
  script.replace(
    /(port-forward \S+) (\d+)/g,
    (_, before, port) => `${before} ${free[PORTS.indexOf(port)]}:${port}`,
  )
const VARIABLES = {
  ...ENV,
  BASE_URL: `http://127.0.0.1:${free[0]}`,
  DURATION: TRAFFIC_SECONDS,
}
t.comment(`instead of the ports ${PORTS}: ${free}; DURATION=${TRAFFIC_SECONDS}`)

/**
 * Runs a block, and returns its status and all that it prints. What it starts in the background
 * runs on.
 */
async function runBlock({ line, script }: Block): Promise<{ status: number | null; output: string }> {
  const file = join(REPOSITORY, `line-${line}`)
  const fd = openSync(file, 'w')
  const command = ['bash', '-euo', 'pipefail', '-c', onFreePorts(script)]
  const child = start(command, { cwd: REPOSITORY, env: VARIABLES, stdio: ['ignore', fd, fd] })
  const group = `-${child.pid}`
  const release = guard('kill', '-s', 'KILL', '--', group)
  t.teardown(() => {
    try {
      process.kill(Number(group), 'SIGKILL')
    } catch {
      // Nothing runs on.
    }
    release()
  })
  const [status] = await once(child, 'exit')
  return { status, output: readFileSync(file, 'utf8') }
}

/** What must be true after a block that has these words. */
const CHECKS: Record<string, (t: Test, output: string) => unknown> = {
  generate_traffic: (t, output) => {
    t.match(output, /^20[01]: \d+$/m, 'requests were answered')
    t.notMatch(output, /^5\d\d: /m, 'none by a 5xx')
  },
  'kubectl diff': (t, output) => t.notMatch(output, /^[+-]/m, 'no change'),
  '--profile=restricted': (t, output) => t.match(output, /status: 200/),
  'replicated\nYAML': async (t) => {
    t.match(await inNamespace('get', 'pods', '--output=name'), /valkey-0/)
  },
  '!grafana_dashboard': async (t) => {
    t.equal(await inNamespace('get', 'deployment', '--output=name'), 'deployment.apps/storage-api')
    t.match(await inNamespace('get', 'configmap', '--output=name'), /grafana-dashboards/)
    t.match(await inNamespace('get', 'servicemonitor', '--output=name'), /storage-api/)
  },
  'kubectl delete -k': async (t) => {
    t.equal(await kubectl(['get', 'namespace', NAMESPACE, '--ignore-not-found', '--output=name']), '')
  },
}

/** Lets a cluster without the Prometheus Operator keep its objects; nobody reads them. */
async function defineOperator(t: Test): Promise<void> {
  const crds = CRDS.map((kind) => `${kind.toLowerCase()}s.${GROUP}`)
  const existing = await kubectl(['get', 'crd', ...crds, '--ignore-not-found', '--output=name'])
  if (existing !== '') return
  t.comment('the cluster has no Prometheus Operator: its CustomResourceDefinitions are without a schema')
  const remove = ['delete', 'crd', ...crds, '--ignore-not-found']
  const release = guard('env', `KUBECONFIG=${ENV.KUBECONFIG}`, 'kubectl', ...remove, '--wait=false')
  t.teardown(async () => {
    await kubectl([...remove, TIMEOUT])
    release()
  })
  const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } }
  for (const kind of CRDS) {
    const plural = `${kind.toLowerCase()}s`
    await kubectl(['create', '--filename=-'], {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: `${plural}.${GROUP}` },
      spec: {
        group: GROUP,
        scope: 'Namespaced',
        names: { kind, plural, singular: kind.toLowerCase() },
        versions: [{ name: 'v1', served: true, storage: true, schema }],
      },
    })
  }
}

t.test(`the commands of ${DOCUMENT} do what it says`, async (t) => {
  await defineOperator(t)
  for (const block of blocks.filter(isRunnable)) {
    const { status, output } = await runBlock(block)
    const name = `${DOCUMENT}:${block.line}`
    if (!t.equal(status, 0, name)) t.comment(output)
    const warnings = output.match(/^Warning.*/gm) ?? []
    t.strictSame(
      warnings.filter((warning) => !ANNOUNCED.test(warning)),
      [],
      `${name}: no warning`,
    )
    for (const [words, check] of Object.entries(CHECKS))
      if (block.script.includes(words)) await check(t, output)
  }
  for (const words of Object.keys(CHECKS))
    t.ok(
      blocks.some(({ script }) => script.includes(words)),
      `a block has ${JSON.stringify(words)}`,
    )
  const others = blocks.filter((block) => !isRunnable(block))
  t.comment(`${blocks.length - others.length} blocks run`)
  t.comment(`not run: ${others.map(({ line, needs }) => `line ${line} (${needs})`).join(', ')}`)
})

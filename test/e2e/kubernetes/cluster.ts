/**
 * The stack in a real cluster. Nothing of the user's repository changes: the tests apply a copy.
 * The namespaces are gone when the process has ended, however it ends.
 */

import { once } from 'node:events'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parse, stringify } from 'yaml'
import { guard, outputOf, type Result, run, start, stop, temporaryDirectory } from '../../process.ts'
import { requireTool } from '../require-tool.ts'
import { configurationOf, namedContext } from './context.ts'

requireTool('kubectl', 'version', '--client')

export const NAMESPACE = 'storage-api'
/** Another namespace, without policies. */
export const OTHER_NAMESPACE = 'storage-api-e2e'
const IMAGE = `storage-api:${JSON.parse(readFileSync('package.json', 'utf8')).version}`
const NODE = '/nodejs/bin/node'
/** What takes longer hangs, on any machine. */
export const TIMEOUT = '--timeout=5m'

const directory = temporaryDirectory('storage-api-kubernetes')
/** For programs that use the cluster. */
export const ENV = { KUBECONFIG: join(directory.path, 'kubeconfig') }
writeFileSync(ENV.KUBECONFIG, await configurationOf(await namedContext()))

/** Runs kubectl to its end. */
export const tryKubectl = (...args: string[]): Promise<Result> => run(['kubectl', ...args], { env: ENV })

/** Runs kubectl and returns its output. */
export async function kubectl(args: string[], input?: object): Promise<string> {
  const options = input === undefined ? {} : { input: JSON.stringify(input) }
  return (await outputOf(['kubectl', ...args], { env: ENV, ...options })).trim()
}

/** Runs kubectl in the namespace of the stack. */
export const inNamespace = (...args: string[]) => kubectl(['--namespace', NAMESPACE, ...args])

/** Objects of the stack's namespace, as JSON. */
export const get = async <T>(...args: string[]): Promise<T> =>
  JSON.parse(await inNamespace('get', '--output=json', ...args))

const existing = await kubectl([
  'get',
  'namespace',
  NAMESPACE,
  OTHER_NAMESPACE,
  '--ignore-not-found',
  '--output=name',
])
if (existing !== '') throw new Error(`the cluster has ${existing.replaceAll('\n', ' and ')}: delete it first`)

const remove = ['delete', 'namespace', NAMESPACE, OTHER_NAMESPACE, '--ignore-not-found']
const release = guard('env', `KUBECONFIG=${ENV.KUBECONFIG}`, 'kubectl', ...remove, '--wait=false')
t.teardown(async () => {
  await kubectl([...remove, TIMEOUT])
  release()
  directory.remove()
})

/** A copy of the part of the repository from which the stack is built and applied. */
export const REPOSITORY = join(directory.path, 'repository')
mkdirSync(REPOSITORY)
for (const name of [
  ...['k8s', 'compose', 'scripts', 'src', 'Dockerfile', '.dockerignore'],
  ...['package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json'],
])
  cpSync(name, join(REPOSITORY, name), { recursive: true })

/** Answers Grafana's probes, and nothing else of Grafana's. */
const STAND_IN = `process.once('SIGTERM', process.exit)
require('node:http').createServer((_, response) => response.end('{}')).listen(3000)`
if (process.env.GRAFANA === 'stand-in') {
  t.comment("GRAFANA=stand-in: Grafana's Deployment runs a small server from the image of the service")
  const file = join(REPOSITORY, 'k8s/grafana/kustomization.yaml')
  const kustomization = parse(readFileSync(file, 'utf8'))
  const container = { name: 'grafana', image: IMAGE, command: [NODE, '--eval', STAND_IN] }
  const patch = {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'grafana' },
    spec: { template: { spec: { containers: [container] } } },
  }
  kustomization.patches = [...(kustomization.patches ?? []), { patch: stringify(patch) }]
  writeFileSync(file, stringify(kustomization))
}

/** Writes an overlay with components beside k8s/ in the copy, and returns its folder. */
export function overlay(...components: string[]): string {
  const folder = join(REPOSITORY, components.join('-'))
  mkdirSync(folder, { recursive: true })
  const kustomization = {
    resources: ['../k8s'],
    components: components.map((component) => `../k8s/components/${component}`),
  }
  writeFileSync(join(folder, 'kustomization.yaml'), stringify(kustomization))
  return folder
}

/**
 * Waits until every Deployment and StatefulSet of the stack is as it was applied, with all of its
 * replicas ready.
 */
export async function settled(): Promise<void> {
  for (const workload of (await inNamespace('get', 'deployment,statefulset', '--output=name')).split('\n'))
    await inNamespace('rollout', 'status', workload, TIMEOUT)
}

export interface Pod {
  metadata: { name: string; uid: string; deletionTimestamp?: string }
  spec: { nodeName: string }
  status: {
    podIP: string
    conditions: { type: string; status: string }[]
    containerStatuses: ContainerStatus[]
    ephemeralContainerStatuses?: ContainerStatus[]
  }
}

interface ContainerStatus {
  name: string
  restartCount: number
  ready: boolean
  state: { terminated?: Terminated }
  lastState: { terminated?: Terminated }
}

interface Terminated {
  reason: string
  exitCode: number
}

/** The pods of a part of the stack that are not being deleted. */
export async function pods(name: string): Promise<Pod[]> {
  const { items } = await get<{ items: Pod[] }>('pods', `--selector=app.kubernetes.io/name=${name}`)
  return items.filter(({ metadata }) => metadata.deletionTimestamp === undefined)
}

/** The only pod of a part of the stack. */
export async function podOf(name: string): Promise<Pod> {
  const [pod, ...others] = await pods(name)
  if (pod === undefined || others.length > 0) throw new Error(`not one pod of ${name}`)
  return pod
}

/** Starts a pod from the service's image that runs a script of its own, and waits until it runs. */
export async function startScript(
  name: string,
  script: string,
  {
    namespace = NAMESPACE,
    labels = {},
    args = [],
    node,
  }: { namespace?: string; labels?: Record<string, string>; args?: string[]; node?: string | undefined } = {},
): Promise<void> {
  await kubectl(['create', '--filename=-'], {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels },
    spec: {
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 1,
      automountServiceAccountToken: false,
      ...(node === undefined ? {} : { nodeSelector: { 'kubernetes.io/hostname': node } }),
      securityContext: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [
        {
          name: 'script',
          image: IMAGE,
          command: [NODE],
          args: ['--input-type=module-typescript', '--eval', script, '--', 'script', ...args],
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
        },
      ],
    },
  })
  await kubectl(['--namespace', namespace, 'wait', '--for=condition=Ready', `pod/${name}`, TIMEOUT])
}

/** Evaluates JavaScript in a pod that has Node.js, and returns what it prints as JSON. */
export async function evaluate<T>(pod: string, script: string, namespace = NAMESPACE): Promise<T> {
  const command = [NODE, '--input-type=module', '--eval', script]
  return JSON.parse(await kubectl(['--namespace', namespace, 'exec', pod, '--', ...command]))
}

/** Evaluates JavaScript in an ephemeral container of a pod, and returns what it prints as JSON. */
export async function debug<T>(pod: string, script: string): Promise<T> {
  const container = `debug-${crypto.randomUUID()}`
  const command = [NODE, '--input-type=module', '--eval', script]
  const options = ['--profile=restricted', `--image=${IMAGE}`, `--container=${container}`]
  await inNamespace('debug', pod, ...options, '--', ...command)
  const ended = `{.status.ephemeralContainerStatuses[?(@.name=="${container}")].state.terminated.exitCode}`
  await inNamespace('wait', `--for=jsonpath=${ended}=0`, `pod/${pod}`, TIMEOUT)
  return JSON.parse(await inNamespace('logs', pod, `--container=${container}`))
}

/**
 * Forwards a free port of this machine to a port of the stack, until the test ends, and returns its
 * URL.
 */
export async function forward(t: Test, resource: string, port: number): Promise<string> {
  const command = ['kubectl', '--namespace', NAMESPACE, 'port-forward', resource, `:${port}`]
  const child = start(command, { env: ENV })
  t.after(() => stop(child))
  const [line] = await once(child.stdout as NonNullable<typeof child.stdout>, 'data')
  const [, local] = /127\.0\.0\.1:(\d+)/.exec(`${line}`) ?? []
  return `http://127.0.0.1:${local}`
}

import { execFileSync } from 'node:child_process'
import { join, relative } from 'node:path'
import type {
  IPrometheusRule,
  IServiceMonitor,
} from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1'
import type { Deployment } from 'kubernetes-types/apps/v1.js'
import type {
  ConfigMap,
  Namespace,
  PersistentVolumeClaim,
  Secret,
  Service,
  ServiceAccount,
} from 'kubernetes-types/core/v1.js'
import type { Ingress, NetworkPolicy } from 'kubernetes-types/networking/v1.js'
import type { Role, RoleBinding } from 'kubernetes-types/rbac/v1.js'
import t from 'tap'
import { parseAllDocuments, stringify } from 'yaml'
import { requireTool } from '../e2e/docker.ts'

requireTool('kubectl', 'version', '--client')
requireTool('kustomize', 'version')

/** A type in which nothing is optional: what is missing all the same fails an assertion. */
type Full<T> = T extends object ? { [K in keyof T]-?: Full<T[K]> } : T

interface Kinds {
  ConfigMap: ConfigMap
  Deployment: Deployment
  Ingress: Ingress
  Namespace: Namespace
  NetworkPolicy: NetworkPolicy
  PersistentVolumeClaim: PersistentVolumeClaim
  PrometheusRule: IPrometheusRule
  Role: Role
  RoleBinding: RoleBinding
  Secret: Secret
  Service: Service
  ServiceAccount: ServiceAccount
  ServiceMonitor: IServiceMonitor
}
export type Manifest<K extends keyof Kinds = keyof Kinds> = Full<Kinds[K]>
export type Pod = Manifest<'Deployment'>['spec']['template']
export type Labels = Record<string, string>

const COMPONENTS = ['ingress', 'prometheus-operator']

/** How the stack can be put together: without components, with each, and with both. */
const COMBINATIONS = [[], ...COMPONENTS.map((component) => [component]), COMPONENTS]

/** Folders to render: k8s/ itself, and an overlay for each combination of components. */
export const FOLDERS = new Map(
  COMBINATIONS.map((components) => {
    if (components.length === 0) return ['k8s', 'k8s']
    const name = components.join(' and ')
    return [name, join(t.testdirName, name)]
  }),
)
t.testdir(
  Object.fromEntries(
    COMBINATIONS.slice(1).map((components) => {
      const name = components.join(' and ')
      const k8s = relative(FOLDERS.get(name) as string, 'k8s')
      const kustomization = {
        resources: [k8s],
        components: components.map((component) => join(k8s, 'components', component)),
      }
      return [name, { 'kustomization.yaml': stringify(kustomization) }]
    }),
  ),
)

/** Renders a folder with one of the tools, and returns its documents. */
export function render(folder: string, command: 'kubectl kustomize' | 'kustomize build'): Manifest[] {
  const [tool, argument] = command.split(' ') as [string, string]
  const yaml = execFileSync(tool, [argument, folder], { encoding: 'utf8', maxBuffer: 2 ** 24 })
  return parseAllDocuments(yaml).map((document) => document.toJS())
}

/** The documents of one combination of components. */
export class Stack {
  readonly name: string
  readonly manifests: Manifest[]

  constructor(name: string, folder: string) {
    this.name = name
    this.manifests = render(folder, 'kubectl kustomize')
  }

  all<K extends keyof Kinds>(kind: K): Manifest<K>[] {
    return this.manifests.filter((manifest) => manifest.kind === kind) as Manifest<K>[]
  }

  get<K extends keyof Kinds>(kind: K, name: string): Manifest<K> | undefined {
    return this.all(kind).find(({ metadata }) => metadata.name === name)
  }

  /** The pod of a Deployment. */
  pod(name: string): Pod {
    const deployment = this.get('Deployment', name)
    if (deployment === undefined) throw new Error(`no Deployment ${name}`)
    return deployment.spec.template
  }

  /** The pods of all Deployments. */
  get pods(): [name: string, pod: Pod][] {
    return this.all('Deployment').map(({ metadata, spec }) => [metadata.name, spec.template])
  }
}

export const stacks = [...FOLDERS].map(([name, folder]) => new Stack(name, folder))
export const [stack] = stacks as [Stack]

/** Whether a selector, of which it understands `matchLabels`, selects labels. */
export function selects(selector: { matchLabels: Labels }, labels: Labels): boolean {
  const { matchLabels = {}, ...rest } = selector
  if (Object.keys(rest).length > 0) throw new Error(`not understood: ${Object.keys(rest)}`)
  return Object.entries(matchLabels).every(([label, value]) => labels[label] === value)
}

/** The files that a pod's volume of ConfigMaps holds, by path. */
export function files(stack: Stack, deployment: string, volume: string): Record<string, string | undefined> {
  const found = stack.pod(deployment).spec.volumes.find(({ name }) => name === volume)
  const sources = found?.projected.sources ?? []
  return Object.fromEntries(
    sources.flatMap(({ configMap: { name, items } }) => {
      const data: Record<string, string> = stack.get('ConfigMap', name)?.data ?? {}
      const paths = items ?? Object.keys(data).map((key) => ({ key, path: key }))
      return paths.map(({ key, path }) => [path, data[key]])
    }),
  )
}

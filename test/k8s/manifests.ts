import { join, relative } from 'node:path'
import type {
  IPrometheusRule,
  IServiceMonitor,
} from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1'
import type { Deployment, StatefulSet } from 'kubernetes-types/apps/v1.js'
import type { HorizontalPodAutoscaler } from 'kubernetes-types/autoscaling/v2.js'
import type {
  ConfigMap,
  Namespace,
  PersistentVolumeClaim,
  Secret,
  Service,
  ServiceAccount,
} from 'kubernetes-types/core/v1.js'
import type { Ingress, NetworkPolicy } from 'kubernetes-types/networking/v1.js'
import type { PodDisruptionBudget } from 'kubernetes-types/policy/v1.js'
import type { Role, RoleBinding } from 'kubernetes-types/rbac/v1.js'
import t from 'tap'
import { parseAllDocuments, stringify } from 'yaml'
import { requireTool } from '../e2e/require-tool.ts'
import { outputOf } from '../process.ts'

requireTool('kubectl', 'version', '--client')
requireTool('kustomize', 'version')

/** A type without optional properties. If one is missing, an assertion fails. */
type Full<T> = T extends object ? { [K in keyof T]-?: Full<T[K]> } : T

interface Kinds {
  ConfigMap: ConfigMap
  Deployment: Deployment
  HorizontalPodAutoscaler: HorizontalPodAutoscaler
  Ingress: Ingress
  Namespace: Namespace
  NetworkPolicy: NetworkPolicy
  PersistentVolumeClaim: PersistentVolumeClaim
  PodDisruptionBudget: PodDisruptionBudget
  PrometheusRule: IPrometheusRule
  Role: Role
  RoleBinding: RoleBinding
  Secret: Secret
  Service: Service
  ServiceAccount: ServiceAccount
  ServiceMonitor: IServiceMonitor
  StatefulSet: StatefulSet
}
export type Manifest<K extends keyof Kinds = keyof Kinds> = Full<Kinds[K]>
export type Workload = Manifest<'Deployment'> | Manifest<'StatefulSet'>
export type Pod = Workload['spec']['template']
export type Labels = Record<string, string>

export const COMPONENTS = ['ingress', 'prometheus-operator', 'replicated', 'valkey'] as const
export type Component = (typeof COMPONENTS)[number]

/** Every combination of components. The first has none. */
const COMBINATIONS = COMPONENTS.reduce<Component[][]>(
  (combinations, component) =>
    combinations.concat(combinations.map((components) => [...components, component])),
  [[]],
)

const nameOf = (components: Component[]) => components.join(' and ') || 'k8s'
/** The folder to render: k8s/ itself, or an overlay with the components, in this order. */
const folderOf = (components: Component[]) =>
  components.length === 0 ? 'k8s' : join(t.testdirName, nameOf(components))

t.testdir(
  Object.fromEntries(
    [...COMBINATIONS, ...COMBINATIONS.map((components) => components.toReversed())]
      .filter(({ length }) => length > 0)
      .map((components) => {
        const k8s = relative(folderOf(components), 'k8s')
        const kustomization = {
          resources: [k8s],
          components: components.map((component) => join(k8s, 'components', component)),
        }
        return [nameOf(components), { 'kustomization.yaml': stringify(kustomization) }]
      }),
  ),
)

/** The documents of one combination of components. */
export class Stack {
  readonly name: string
  readonly components: Component[]
  manifests: Manifest[] = []

  constructor(components: Component[]) {
    this.name = nameOf(components)
    this.components = components
  }

  /** Renders the combination with one of the tools, and returns its documents. */
  async render(
    command: 'kubectl kustomize' | 'kustomize build',
    components = this.components,
  ): Promise<Manifest[]> {
    const [tool, argument] = command.split(' ') as [string, string]
    const documents = await outputOf([tool, argument, folderOf(components)])
    return parseAllDocuments(documents).map((document) => document.toJS())
  }

  has(component: Component): boolean {
    return this.components.includes(component)
  }

  all<K extends keyof Kinds>(kind: K): Manifest<K>[] {
    return this.manifests.filter((manifest) => manifest.kind === kind) as Manifest<K>[]
  }

  get<K extends keyof Kinds>(kind: K, name: string): Manifest<K> | undefined {
    return this.all(kind).find(({ metadata }) => metadata.name === name)
  }

  /** The Deployments and StatefulSets. */
  get workloads(): Workload[] {
    return [...this.all('Deployment'), ...this.all('StatefulSet')]
  }

  /** The pod of a Deployment or StatefulSet. */
  pod(name: string): Pod {
    const workload = this.workloads.find(({ metadata }) => metadata.name === name)
    if (workload === undefined) throw new Error(`no Deployment or StatefulSet ${name}`)
    return workload.spec.template
  }

  /** The pods of all Deployments and StatefulSets. */
  get pods(): [name: string, pod: Pod][] {
    return this.workloads.map(({ metadata, spec }) => [metadata.name, spec.template])
  }
}

export const stacks = COMBINATIONS.map((components) => new Stack(components))
await Promise.all(
  stacks.map(async (stack) => {
    stack.manifests = await stack.render('kubectl kustomize')
  }),
)
export const [stack] = stacks as [Stack]
/** The combination of exactly these components. */
export const stackOf = (...components: Component[]) =>
  stacks.find(({ name }) => name === nameOf(components)) as Stack
/** All combinations that include this component. */
export const stacksWith = (component: Component) => stacks.filter((stack) => stack.has(component))

/**
 * Whether a selector selects labels.
 *
 * @throws {Error} if the selector has more than `matchLabels`.
 */
export function selects(selector: { matchLabels: Labels }, labels: Labels): boolean {
  const { matchLabels = {}, ...rest } = selector
  if (Object.keys(rest).length > 0) throw new Error(`not understood: ${Object.keys(rest)}`)
  return Object.entries(matchLabels).every(([label, value]) => labels[label] === value)
}

/** The files in a pod's volume of ConfigMaps, by path. */
export function files(stack: Stack, workload: string, volume: string): Record<string, string | undefined> {
  const found = stack.pod(workload).spec.volumes.find(({ name }) => name === volume)
  const sources = found?.projected?.sources ?? (found === undefined ? [] : [found])
  return Object.fromEntries(
    sources.flatMap(({ configMap: { name, items } }) => {
      const data: Record<string, string> = stack.get('ConfigMap', name)?.data ?? {}
      const paths = items ?? Object.keys(data).map((key) => ({ key, path: key }))
      return paths.map(({ key, path }) => [path, data[key]])
    }),
  )
}

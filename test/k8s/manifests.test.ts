import { readFileSync } from 'node:fs'
import t from 'tap'
import { parse } from 'yaml'
import { parseStorageUrl } from '../../src/store/storage-url.ts'
import { build } from '../helper.ts'
import {
  COMPONENTS,
  type Component,
  type Manifest,
  type Pod,
  type Stack,
  selects,
  stack,
  stackOf,
  stacks,
  stacksWith,
} from './manifests.ts'

type Container = Pod['spec']['containers'][0]

const NAME = 'app.kubernetes.io/name'
const VERSION = 'app.kubernetes.io/version'
/** Optional Secrets. */
const SECRETS = ['grafana-admin', 'storage-api-tokens']
/** Required Secrets: the key, the components that need it, and the reason. */
const REQUIRED_SECRETS: Record<string, { key: string; components: Component[]; why: string }> = {
  valkey: {
    key: 'password',
    components: ['replicated', 'valkey'],
    why: 'an engine without a password is open to everyone who reaches its port',
  },
}
/** The types of volumes that the Pod Security Standard `restricted` allows. */
const VOLUME_TYPES = [
  'configMap',
  'csi',
  'downwardAPI',
  'emptyDir',
  'ephemeral',
  'persistentVolumeClaim',
  'projected',
  'secret',
]
/** The size of a container's log at which the kubelet drops the oldest lines, in MiB. */
const LOG_MIB = 50
const MAX_CONFIG_MAP_BYTES = 256 * 1024
/** The time for open requests after the drain, in seconds: FINISH_MS of src/server.ts. */
const FINISH_SECONDS = 10

/** Each container of each combination, with its name in messages. */
const containers: { where: string; stack: Stack; pod: Pod; container: Container }[] = stacks.flatMap(
  (stack) =>
    stack.pods.flatMap(([name, pod]) =>
      [...(pod.spec.initContainers ?? []), ...pod.spec.containers].map((container) => ({
        where: `${stack.name}, ${name}`,
        stack,
        pod,
        container,
      })),
    ),
)
/** Each document of each combination. */
const documents = stacks.flatMap((stack) =>
  stack.manifests.map((manifest) => ({
    where: `${stack.name}, ${manifest.kind} ${manifest.metadata.name}`,
    stack,
    manifest,
  })),
)
const pods = stacks.flatMap((stack) =>
  stack.pods.map(([name, pod]) => ({ where: `${stack.name}, ${name}`, stack, name, pod })),
)

/** MiB of a quantity: `512Mi`. */
const mib = (quantity: string) => {
  const [, number, unit] = /^(\d+)(Mi|Gi)$/.exec(quantity) ?? []
  return Number(number) * (unit === 'Gi' ? 1024 : 1)
}

t.test('every pod meets the Pod Security Standard `restricted`, which the namespace enforces', async (t) => {
  for (const stack of stacks) {
    for (const mode of ['enforce', 'audit', 'warn']) {
      const [namespace] = stack.all('Namespace')
      t.equal(
        namespace?.metadata.labels[`pod-security.kubernetes.io/${mode}`],
        'restricted',
        `${stack.name}: ${mode}`,
      )
    }
  }
  for (const { where, pod } of pods) {
    const { spec } = pod
    t.equal(spec.securityContext.runAsNonRoot, true, `non-root: ${where}`)
    t.equal(spec.securityContext.seccompProfile.type, 'RuntimeDefault', `seccomp: ${where}`)
    for (const field of ['hostNetwork', 'hostPID', 'hostIPC'] as const) {
      t.notOk(spec[field], `no ${field}: ${where}`)
    }
    for (const { name, ...volume } of spec.volumes ?? []) {
      t.ok(
        Object.keys(volume).every((type) => VOLUME_TYPES.includes(type)),
        `volume type: ${where} ${name}`,
      )
    }
  }
  for (const { where, container } of containers) {
    const { securityContext, ports } = container
    t.strictSame(securityContext.capabilities, { drop: ['ALL'] }, `no capabilities: ${where}`)
    t.equal(securityContext.allowPrivilegeEscalation, false, `no privilege escalation: ${where}`)
    t.notOk(securityContext.privileged, `not privileged: ${where}`)
    for (const field of ['runAsNonRoot', 'runAsUser', 'runAsGroup', 'seccompProfile'] as const) {
      t.equal(securityContext[field], undefined, `${field} is the pod's: ${where}`)
    }
    t.ok(
      ports.every(({ hostPort }) => hostPort === undefined),
      `no host port: ${where}`,
    )
  }
})

t.test('every pod has a user and group that no node has, and a read-only root file system', async (t) => {
  for (const { where, pod } of pods) {
    const { runAsUser, runAsGroup, fsGroup = 10_000 } = pod.spec.securityContext
    t.ok(runAsUser >= 10_000, `uid: ${where}`)
    t.ok(runAsGroup >= 10_000, `gid: ${where}`)
    t.ok(fsGroup >= 10_000, `fsGroup: ${where}`)
  }
  for (const { where, container } of containers) {
    t.equal(container.securityContext.readOnlyRootFilesystem, true, `read-only root: ${where}`)
  }
})

t.test('the user and group of storage-api are those of its image', async (t) => {
  const { runAsUser, runAsGroup } = stack.pod('storage-api').spec.securityContext
  t.match(readFileSync('Dockerfile', 'utf8'), `USER ${runAsUser}:${runAsGroup}\n`, 'uid and gid')
})

t.test('every probe checks a port and a path that exist, and liveness is not readiness', async (t) => {
  const app = build(t)
  /** Valkey does not speak HTTP, so that its probes run commands. configuration.test.ts compares them with Compose. */
  const commands = ['valkey']
  const known: Record<string, string[]> = {
    prometheus: ['/-/healthy', '/-/ready'],
    grafana: ['/healthz', '/api/health'],
  }
  for (const { where, container } of containers) {
    const { livenessProbe, readinessProbe, startupProbe } = container
    t.ok(livenessProbe, `liveness: ${where}`)
    t.ok(readinessProbe, `readiness: ${where}`)
    const question = ({ httpGet, exec }: typeof livenessProbe) => httpGet?.path ?? exec?.command
    t.notSame(question(livenessProbe), question(readinessProbe), `liveness is not readiness: ${where}`)
    for (const probe of [livenessProbe, readinessProbe, startupProbe]) {
      if (probe === undefined) continue
      if (commands.includes(container.name)) {
        t.ok(probe.exec, `a command: ${where}`)
        continue
      }
      const { port, path } = probe.httpGet ?? {}
      t.ok(
        container.ports.some(({ name }) => name === port),
        `port ${port}: ${where}`,
      )
      const exists =
        container.name === 'storage-api'
          ? (await app.inject(path ?? '')).statusCode === 200
          : known[container.name]?.includes(path ?? '')
      t.ok(exists, `path ${path}: ${where}`)
    }
  }
})

t.test('a frozen process is noticed and killed, and does not get the time to shut down', async (t) => {
  for (const { where, pod, container } of containers) {
    const { httpGet, exec, terminationGracePeriodSeconds: grace } = container.livenessProbe
    t.ok(httpGet ?? exec, `the process has to reply, because the kernel accepts connections for it: ${where}`)
    // The default of a pod is 30 s.
    t.ok(grace > 0 && grace < (pod.spec.terminationGracePeriodSeconds ?? 30), `${grace} s: ${where}`)
  }
})

t.test('a Service has an address of each IP family of the cluster', async (t) => {
  for (const stack of stacks) {
    for (const { metadata, spec } of stack.all('Service'))
      t.equal(spec.ipFamilyPolicy, 'PreferDualStack', `${stack.name}, Service ${metadata.name}`)
  }
})

t.test('every selector selects', async (t) => {
  for (const { where, stack, manifest } of documents) {
    const matching = (selector: { matchLabels: Record<string, string> }) =>
      stack.pods.filter(([, { metadata }]) => selects(selector, metadata.labels)).map(([name]) => name)
    if (['Deployment', 'StatefulSet', 'PodDisruptionBudget'].includes(manifest.kind)) {
      const { selector } = (manifest as Manifest<'Deployment'>).spec
      t.strictSame(matching(selector), [manifest.metadata.name], `its own pods: ${where}`)
    }
    if (manifest.kind === 'Service') {
      const { selector } = (manifest as Manifest<'Service'>).spec
      t.strictSame(matching({ matchLabels: selector }), [manifest.metadata.name], `its pods: ${where}`)
    }
    if (manifest.kind === 'NetworkPolicy' && manifest.metadata.name !== 'storage-api-client') {
      t.not(matching((manifest as Manifest<'NetworkPolicy'>).spec.podSelector).length, 0, `pods: ${where}`)
    }
    if (manifest.kind === 'ServiceMonitor') {
      const { selector, endpoints } = (manifest as Manifest<'ServiceMonitor'>).spec
      const services = stack
        .all('Service')
        .filter(({ metadata }) =>
          selects(selector as { matchLabels: Record<string, string> }, metadata.labels),
        )
      t.strictSame(
        services.map(({ metadata, spec }) => [metadata.name, spec.ports.map(({ name }) => name)]),
        [['storage-api', endpoints.map(({ port }) => port)]],
        `the Service and its port: ${where}`,
      )
    }
  }
})

t.test('selectors use the name only, because a release must not change them', async (t) => {
  for (const { where, manifest } of documents) {
    if (!['Deployment', 'StatefulSet', 'PodDisruptionBudget', 'Service'].includes(manifest.kind)) continue
    const { selector } = (manifest as Manifest<'Deployment'>).spec
    t.strictSame(Object.keys(selector.matchLabels ?? selector), [NAME], where)
  }
})

t.test('every port that a manifest refers to exists', async (t) => {
  for (const stack of stacks) {
    for (const { metadata, spec } of stack.all('Service')) {
      const ports = stack.pod(metadata.name).spec.containers.flatMap(({ ports }) => ports)
      for (const { targetPort, port } of spec.ports) {
        const target = ports.find(({ name }) => name === targetPort)
        t.equal(target?.containerPort, port, `${stack.name}, Service ${metadata.name}: its port is the pod's`)
      }
      t.equal(spec.type, 'ClusterIP', `${stack.name}, Service ${metadata.name}: inside the cluster`)
    }
    for (const { metadata, spec } of stack.all('Ingress')) {
      for (const { path, backend } of spec.rules.flatMap(({ http }) => http.paths)) {
        const service = stack.get('Service', backend.service.name)
        t.ok(
          service?.spec.ports.some(({ name }) => name === backend.service.port.name),
          `${stack.name}, Ingress ${metadata.name}: ${path}`,
        )
        t.equal(path, '/api', `${stack.name}, Ingress ${metadata.name}: nothing but /api`)
      }
    }
  }
})

t.test(
  'every ConfigMap, Secret, ServiceAccount, claim and Role that a manifest refers to exists',
  async (t) => {
    for (const { where, name, stack, pod } of pods) {
      const { spec } = pod
      const sources = (spec.volumes ?? []).flatMap(({ projected, ...volume }) => [
        volume,
        ...(projected?.sources ?? []),
      ])
      const fromEnv = spec.containers.flatMap(({ env = [], envFrom = [] }) => [
        ...env.flatMap(({ valueFrom }) => valueFrom ?? []),
        ...envFrom,
      ])
      for (const { configMap, secret } of sources as { configMap?: unknown; secret?: unknown }[]) {
        if (secret !== undefined) {
          const { secretName, name = secretName, optional } = secret as Record<string, unknown>
          const { components = [], why } = REQUIRED_SECRETS[name as string] ?? {}
          t.not(optional, true, `Secret ${name} is required, because ${why}: ${where}`)
          t.ok(
            components.some((component) => stack.has(component)),
            `Secret ${name} is one that these components need: ${where}`,
          )
        }
        if (configMap === undefined) continue
        const { name, items = [] } = configMap as { name: string; items?: { key: string }[] }
        const data = stack.get('ConfigMap', name)?.data
        t.ok(data, `ConfigMap ${name}: ${where}`)
        for (const { key } of items)
          t.type(data?.[key], 'string', `key ${key} of ConfigMap ${name}: ${where}`)
      }
      for (const source of fromEnv) {
        const { name, optional } = ('secretKeyRef' in source ? source.secretKeyRef : source.secretRef) ?? {}
        t.ok(optional && SECRETS.includes(name as string), `Secret ${name} is optional: ${where}`)
      }
      t.ok(stack.get('ServiceAccount', spec.serviceAccountName), `ServiceAccount: ${where}`)
      for (const { persistentVolumeClaim } of spec.volumes ?? []) {
        if (persistentVolumeClaim === undefined) continue
        t.ok(stack.get('PersistentVolumeClaim', persistentVolumeClaim.claimName), `claim: ${where}`)
      }
      const claims = stack.get('StatefulSet', name)?.spec.volumeClaimTemplates ?? []
      const volumes = [...(spec.volumes ?? []), ...claims.map(({ metadata }) => metadata)]
      for (const { name, volumeMounts = [] } of spec.containers) {
        for (const mount of volumeMounts) {
          t.ok(
            volumes.some((volume) => volume.name === mount.name),
            `volume ${mount.name} of ${name}: ${where}`,
          )
        }
      }
    }
    for (const stack of stacks) {
      for (const { metadata, spec } of stack.all('StatefulSet'))
        t.ok(stack.get('Service', spec.serviceName), `${stack.name}: Service of ${metadata.name}`)
      for (const { roleRef, subjects } of stack.all('RoleBinding')) {
        t.ok(stack.get(roleRef.kind as 'Role', roleRef.name), `${stack.name}: Role ${roleRef.name}`)
        for (const { kind, name } of subjects)
          t.ok(stack.get(kind as 'ServiceAccount', name), `${stack.name}: ${name}`)
      }
    }
  },
)

t.test('a changed configuration starts new pods, except for dashboards, which Grafana reloads', async (t) => {
  for (const { where, manifest } of documents) {
    if (manifest.kind !== 'ConfigMap') continue
    t.match(manifest.metadata.name, /^(grafana-dashboards|[a-z-]+-[a-z0-9]{10})$/, `hash: ${where}`)
  }
})

t.test('ConfigMaps are small enough for the annotation of kubectl apply', async (t) => {
  for (const { where, manifest } of documents) {
    if (manifest.kind === 'ConfigMap')
      t.ok(JSON.stringify(manifest).length <= MAX_CONFIG_MAP_BYTES, `size: ${where}`)
  }
})

t.test('only Prometheus has a Role: it can read the pods of this namespace', async (t) => {
  for (const stack of stacks) {
    t.notOk(
      stack.manifests.some(({ kind }) => kind.startsWith('ClusterRole')),
      `${stack.name}: nothing of the cluster`,
    )
    const operator = stack.has('prometheus-operator')
    t.strictSame(
      stack.all('Role').map(({ metadata, rules }) => [metadata.name, rules]),
      operator
        ? []
        : [['prometheus', [{ apiGroups: [''], resources: ['pods'], verbs: ['get', 'list', 'watch'] }]]],
      `${stack.name}: no wildcard, no more than the pods`,
    )
    t.strictSame(
      stack.all('RoleBinding').map(({ roleRef, subjects }) => [roleRef.kind, roleRef.name, subjects]),
      operator
        ? []
        : [
            [
              'Role',
              'prometheus',
              [{ kind: 'ServiceAccount', name: 'prometheus', namespace: 'storage-api' }],
            ],
          ],
      `${stack.name}: bound to Prometheus alone`,
    )
  }
})

t.test('only Prometheus has a token for the API server', async (t) => {
  for (const { where, name, pod, stack } of pods) {
    t.equal(pod.spec.automountServiceAccountToken, name === 'prometheus', `token: ${where}`)
    t.equal(pod.spec.serviceAccountName, name, `an account of its own: ${where}`)
    const account = stack.get('ServiceAccount', pod.spec.serviceAccountName)
    t.equal(account?.automountServiceAccountToken, false, `no token unless a pod asks: ${where}`)
  }
})

t.test('images and versions are those of Compose and of package.json', async (t) => {
  for (const { where, name, pod } of pods) {
    const { services } = parse(readFileSync(`compose/${name}/compose.yaml`, 'utf8'))
    const [{ image }] = Object.values(services) as [{ image: string }]
    t.strictSame(
      pod.spec.containers.map(({ image }) => image),
      [image],
      `image: ${where}`,
    )
    t.equal(pod.metadata.labels[VERSION], image.split(':')[1]?.replace('v', ''), `version: ${where}`)
  }
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
  t.equal(stack.pod('storage-api').metadata.labels[VERSION], version, 'version of package.json')
})

t.test('every container has requests and limits for CPU, memory and disk', async (t) => {
  const RESOURCES = ['cpu', 'ephemeral-storage', 'memory']
  for (const { where, container, pod } of containers) {
    const { requests, limits } = container.resources
    t.strictSame(Object.keys(requests).sort(), RESOURCES, `requests: ${where}`)
    t.strictSame(Object.keys(limits).sort(), RESOURCES, `limits: ${where}`)
    for (const resource of ['memory', 'ephemeral-storage']) {
      t.ok(mib(requests[resource] as string) <= mib(limits[resource] as string), `${resource}: ${where}`)
    }
    const directories = (pod.spec.volumes ?? []).flatMap(({ emptyDir }) => emptyDir ?? [])
    const disk = directories.reduce((sum, { sizeLimit }) => sum + mib(sizeLimit), LOG_MIB)
    t.ok(disk <= mib(limits['ephemeral-storage'] as string), `volumes and log fit into the limit: ${where}`)
  }
})

t.test('the memory limit of storage-api is reserved, and is the limit of Compose', async (t) => {
  const { requests, limits } = (stack.pod('storage-api').spec.containers[0] as Container).resources
  t.equal(requests.memory, limits.memory, 'reserved')
  t.equal(limits.memory, '512Mi', 'limit')
  t.match(
    readFileSync('compose/storage-api/compose.yaml', 'utf8'),
    '{STORAGE_API_MEMORY:-512m}',
    'limit of Compose',
  )
})

t.test('everything has the recommended labels', async (t) => {
  for (const { where, manifest } of documents) {
    const labels = manifest.metadata.labels
    t.ok(labels[NAME], `name: ${where}`)
    t.equal(labels['app.kubernetes.io/part-of'], 'storage-api', `part-of: ${where}`)
    if (['Namespace storage-api', 'NetworkPolicy default-deny'].some((whole) => where.endsWith(whole)))
      continue
    t.ok(labels['app.kubernetes.io/component'], `component: ${where}`)
  }
  for (const { where, name, stack, pod } of pods) {
    const workload = stack.workloads.find(({ metadata }) => metadata.name === name)
    t.strictSame(
      pod.metadata.labels,
      workload?.metadata.labels,
      `a pod has the labels of its workload: ${where}`,
    )
    t.match(
      pod.metadata.labels,
      { [NAME]: name, 'app.kubernetes.io/instance': name, [VERSION]: /^\d+\.\d+\.\d+$/ },
      `name, instance and version: ${where}`,
    )
  }
})

t.test('everything is in the namespace storage-api', async (t) => {
  for (const { where, manifest } of documents) {
    const { metadata, kind } = manifest
    t.equal(kind === 'Namespace' ? metadata.name : metadata.namespace, 'storage-api', `namespace: ${where}`)
  }
})

t.test('no Secret is committed', async (t) => {
  for (const { where, manifest } of documents) t.not(manifest.kind, 'Secret', where)
})

t.test('storage-api has enough time to lose no request when it stops', async (t) => {
  for (const stack of stacks) {
    const { spec } = stack.get('Deployment', 'storage-api') as Manifest<'Deployment'>
    const pod = spec.template.spec
    const { lifecycle, env } = pod.containers[0] as Container
    const drain = Number(env.find(({ name }) => name === 'DRAIN_SECONDS')?.value)
    const { seconds } = lifecycle.preStop.sleep
    t.ok(seconds > 0, `${stack.name}: waits until no Service includes it`)
    t.ok(
      seconds + drain + FINISH_SECONDS < pod.terminationGracePeriodSeconds,
      `${stack.name}: sleeping, draining and finishing take less than the grace period`,
    )
    t.strictSame(
      spec.strategy,
      { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
      `${stack.name}: the new pod is ready before the old pod stops`,
    )
    t.equal(
      spec.replicas,
      stack.has('replicated') ? undefined : 1,
      `${stack.name}: the autoscaler sets it, or it is one, which holds the objects`,
    )
  }
  t.match(readFileSync('src/server.ts', 'utf8'), `FINISH_MS = ${FINISH_SECONDS}_000`, 'FINISH_MS')
})

t.test('Services add no environment variables', async (t) => {
  for (const { where, pod } of pods) t.equal(pod.spec.enableServiceLinks, false, where)
})

t.test('the volume of Prometheus has one writer', async (t) => {
  t.strictSame(stack.get('Deployment', 'prometheus')?.spec.strategy, { type: 'Recreate' }, 'never two')
  t.strictSame(
    stack.get('PersistentVolumeClaim', 'prometheus')?.spec.accessModes,
    ['ReadWriteOnce'],
    'one node',
  )
})

t.test('the volume of Valkey has one writer, and the template of its claim never changes', async (t) => {
  for (const stack of stacksWith('valkey')) {
    const { name } = stack
    const all = stack.all('StatefulSet')
    t.strictSame(
      all.map(({ metadata, spec }) => [metadata.name, spec.replicas]),
      [['valkey', 1]],
      `${name}: one`,
    )
    for (const { metadata, spec } of all[0]?.spec.volumeClaimTemplates ?? []) {
      t.strictSame(spec.accessModes, ['ReadWriteOnce'], `${name}: one node`)
      // The API server rejects a change of a StatefulSet's claims.
      t.not(metadata.labels[NAME], undefined, `${name}: says whose it is`)
      t.equal(metadata.labels[VERSION], undefined, `${name}: nothing that the next release changes`)
    }
  }
})

t.test('with `replicated` the autoscaler sets the number of replicas, at least three', async (t) => {
  for (const stack of stacksWith('replicated')) {
    const autoscalers = stack.all('HorizontalPodAutoscaler')
    t.strictSame(
      autoscalers.map(({ spec }) => [spec.scaleTargetRef, spec.minReplicas]),
      [[{ apiVersion: 'apps/v1', kind: 'Deployment', name: 'storage-api' }, 3]],
      `${stack.name}: target and minimum`,
    )
    const { spec } = stack.get('Deployment', 'storage-api') as Manifest<'Deployment'>
    t.notOk('replicas' in spec, `${stack.name}: the next apply does not reset it`)
    const [autoscaler] = autoscalers as [Manifest<'HorizontalPodAutoscaler'>]
    t.ok(autoscaler.spec.maxReplicas > 3, `${stack.name}: room for more`)
    const [{ resources }] = spec.template.spec.containers as [Container]
    for (const { resource } of autoscaler.spec.metrics) {
      t.ok(resource.name in resources.requests, `${stack.name}: ${resource.name} is requested`)
    }
  }
})

t.test('with `replicated` a node can be drained, and the drain does not stop all replicas', async (t) => {
  for (const stack of stacksWith('replicated')) {
    const budgets = stack.all('PodDisruptionBudget')
    t.equal(budgets.length, 1, `${stack.name}: one budget`)
    const [{ spec }] = budgets as [Manifest<'PodDisruptionBudget'>]
    t.ok(selects(spec.selector, stack.pod('storage-api').metadata.labels), `${stack.name}: its pods`)
    t.equal(
      spec.unhealthyPodEvictionPolicy,
      'AlwaysAllow',
      `${stack.name}: a pod that is not ready can be evicted`,
    )
    const replicas = stack.get('HorizontalPodAutoscaler', 'storage-api')?.spec.minReplicas ?? 0
    const { minAvailable, maxUnavailable = replicas - Number(minAvailable) } = spec
    t.ok(Number(maxUnavailable) >= 1, `${stack.name}: one may be evicted`)
    t.ok(Number(maxUnavailable) < replicas, `${stack.name}: one stays`)

    const { labels } = stack.pod('storage-api').metadata
    const constraints = stack.pod('storage-api').spec.topologySpreadConstraints ?? []
    const [constraint] = constraints.filter(({ topologyKey }) => topologyKey === 'kubernetes.io/hostname')
    t.equal(constraint?.maxSkew, 1, `${stack.name}: spread over hosts`)
    t.equal(constraint?.whenUnsatisfiable, 'ScheduleAnyway', `${stack.name}: one host is enough`)
    t.ok(constraint && selects(constraint.labelSelector, labels), `${stack.name}: spread among its own`)
  }
})

t.test('with `replicated` the engine is a Service of the stack, and its password is mounted', async (t) => {
  for (const stack of stacksWith('replicated')) {
    const { containers, volumes } = stack.pod('storage-api').spec
    const [{ env, volumeMounts }] = containers as [Container]
    const { STORAGE_URL = '', STORAGE_PASSWORD_FILE = '' } = Object.fromEntries(
      env.map(({ name, value }) => [name, value]),
    )
    const engine = parseStorageUrl(STORAGE_URL)
    if (engine === undefined || engine.engine === 'memory') {
      t.fail(`${stack.name}: no engine that is shared`)
      continue
    }
    t.equal(engine.password, undefined, `${stack.name}: no password in the URL`)
    // Without the component the engine is elsewhere, and the overlay sets its address.
    for (const { host, port } of stack.has('valkey') ? engine.addresses : []) {
      const ports = stack.get('Service', host)?.spec.ports ?? []
      t.ok(
        ports.some((service) => service.port === port),
        `${stack.name}: ${host}:${port}`,
      )
    }
    const mount = volumeMounts.find(({ mountPath }) => STORAGE_PASSWORD_FILE.startsWith(`${mountPath}/`))
    const { secret } = volumes.find(({ name }) => name === mount?.name) ?? {}
    const path = STORAGE_PASSWORD_FILE.slice((mount?.mountPath.length ?? 0) + 1)
    t.equal(path, REQUIRED_SECRETS[secret?.secretName ?? '']?.key, `${stack.name}: the key of the Secret`)
    t.equal(mount?.readOnly, true, `${stack.name}: read-only`)
  }
})

t.test('with `replicated` no waiver for one replica is left', async (t) => {
  for (const stack of stacksWith('replicated')) {
    const annotations = stack.get('Deployment', 'storage-api')?.metadata.annotations ?? {}
    for (const waiver of ['missingPodDisruptionBudget', 'topologySpreadConstraint'])
      t.notOk(`polaris.fairwinds.com/${waiver}-exempt` in annotations, `${stack.name}: ${waiver}`)
    for (const waiver of ['deployment-replicas', 'deployment-strategy'])
      t.notMatch(annotations['kube-score/ignore'], waiver, `${stack.name}: kube-score ${waiver}`)
  }
})

t.test(
  'a component has the same effect in every combination, and changes and removes nothing else',
  async (t) => {
    const CHANGED: Record<string, string[]> = {
      'prometheus-operator': ['ConfigMap grafana-dashboards'],
      replicated: ['Deployment storage-api'],
    }
    const byKey = ({ manifests }: Stack) =>
      new Map(manifests.map((manifest) => [`${manifest.kind} ${manifest.metadata.name}`, manifest]))
    const base = byKey(stack)
    const differences = Object.fromEntries(
      COMPONENTS.map((component) => {
        const alone = byKey(stackOf(component))
        const changed = [...alone].filter(([key, manifest]) => {
          const before = base.get(key)
          return JSON.stringify(before) !== JSON.stringify(manifest)
        })
        const there = changed.filter(([key]) => base.has(key)).map(([key]) => key)
        t.strictSame(there, CHANGED[component] ?? [], `${component}: what it changes`)
        const removed = [...base].filter(([key]) => !alone.has(key))
        const own = removed.every(([, { metadata }]) =>
          ['prometheus', 'grafana'].includes(metadata.labels[NAME] as string),
        )
        t.equal(removed.length > 0, component === 'prometheus-operator', `${component}: whether it removes`)
        t.ok(own, `${component}: removes nothing but Prometheus and Grafana`)
        return [component, { changed, removed: removed.map(([key]) => key) }]
      }),
    )
    for (const stack of stacks) {
      const expected = new Map(base)
      for (const component of stack.components) {
        const { changed, removed } = differences[component] as (typeof differences)[string]
        for (const key of removed) expected.delete(key)
        for (const [key, manifest] of changed) expected.set(key, manifest)
      }
      const sorted = (manifests: Map<string, Manifest>) => [...manifests].sort(([a], [b]) => (a < b ? -1 : 1))
      t.strictSame(sorted(byKey(stack)), sorted(expected), `${stack.name}: the sum of its parts`)
    }
  },
)

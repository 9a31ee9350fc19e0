import { readFileSync } from 'node:fs'
import t from 'tap'
import { parse } from 'yaml'
import { build } from '../helper.ts'
import { type Manifest, type Pod, type Stack, selects, stack, stacks } from './manifests.ts'

type Container = Pod['spec']['containers'][0]

const NAME = 'app.kubernetes.io/name'
const VERSION = 'app.kubernetes.io/version'
/** Secrets that the operator may make: all are optional. */
const SECRETS = ['grafana-admin', 'storage-api-tokens']
/** What the standard `restricted` lets pods mount. */
const VOLUME_TYPES = [
  ...[
    'configMap',
    'csi',
    'downwardAPI',
    'emptyDir',
    'ephemeral',
    'persistentVolumeClaim',
    'projected',
    'secret',
  ],
]
/** What the kubelet keeps of a container's log, in MiB. */
const LOG_MIB = 50
const MAX_CONFIG_MAP_BYTES = 256 * 1024
/** How long requests under way may take after the drain, in seconds: FINISH_MS of src/server.ts. */
const FINISH_SECONDS = 10

/** Each container of each combination, with what it is called in a message. */
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

t.test(
  'every pod keeps to the Pod Security Standard `restricted`, which the namespace enforces',
  async (t) => {
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
  },
)

t.test('every pod has a user and group that no node has, and a root that it cannot write', async (t) => {
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

t.test('every probe asks a port and a path that exist, and being alive is not being ready', async (t) => {
  const app = build(t)
  const known: Record<string, string[]> = {
    prometheus: ['/-/healthy', '/-/ready'],
    grafana: ['/healthz', '/api/health'],
  }
  for (const { where, container } of containers) {
    const { livenessProbe, readinessProbe, startupProbe } = container
    t.ok(livenessProbe, `liveness: ${where}`)
    t.ok(readinessProbe, `readiness: ${where}`)
    t.not(livenessProbe?.httpGet.path, readinessProbe?.httpGet.path, `liveness is not readiness: ${where}`)
    for (const probe of [livenessProbe, readinessProbe, startupProbe]) {
      if (probe === undefined) continue
      const { path, port } = probe.httpGet
      t.ok(
        container.ports.some(({ name }) => name === port),
        `port ${port}: ${where}`,
      )
      const exists =
        container.name === 'storage-api'
          ? (await app.inject(path)).statusCode === 200
          : known[container.name]?.includes(path)
      t.ok(exists, `path ${path}: ${where}`)
    }
  }
})

t.test('every selector selects', async (t) => {
  for (const { where, stack, manifest } of documents) {
    const matching = (selector: { matchLabels: Record<string, string> }) =>
      stack.pods.filter(([, { metadata }]) => selects(selector, metadata.labels)).map(([name]) => name)
    if (manifest.kind === 'Deployment') {
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

t.test('selectors are names alone, which no release changes', async (t) => {
  for (const { where, manifest } of documents) {
    if (manifest.kind !== 'Deployment' && manifest.kind !== 'Service') continue
    const { selector } = (manifest as Manifest<'Deployment'>).spec
    t.strictSame(Object.keys(selector.matchLabels ?? selector), [NAME], where)
  }
})

t.test('every port that something refers to is there', async (t) => {
  for (const stack of stacks) {
    for (const { metadata, spec } of stack.all('Service')) {
      const ports = stack
        .get('Deployment', metadata.name)
        ?.spec.template.spec.containers.flatMap(({ ports }) => ports)
      for (const { targetPort, port } of spec.ports) {
        const target = ports?.find(({ name }) => name === targetPort)
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
  'every ConfigMap, Secret, ServiceAccount, claim and Role that something refers to is there',
  async (t) => {
    for (const { where, stack, pod } of pods) {
      const { spec } = pod
      const sources = (spec.volumes ?? []).flatMap(({ projected, ...volume }) => [
        volume,
        ...(projected?.sources ?? []),
      ])
      const fromEnv = spec.containers.flatMap(({ env = [], envFrom = [] }) => [
        ...env.flatMap(({ valueFrom }) => valueFrom ?? []),
        ...envFrom,
      ])
      for (const { configMap } of sources) {
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
      for (const { name, volumeMounts = [] } of spec.containers) {
        for (const mount of volumeMounts) {
          t.ok(
            spec.volumes.some((volume) => volume.name === mount.name),
            `volume ${mount.name} of ${name}: ${where}`,
          )
        }
      }
    }
    for (const stack of stacks) {
      for (const { roleRef, subjects } of stack.all('RoleBinding')) {
        t.ok(stack.get(roleRef.kind as 'Role', roleRef.name), `${stack.name}: Role ${roleRef.name}`)
        for (const { kind, name } of subjects)
          t.ok(stack.get(kind as 'ServiceAccount', name), `${stack.name}: ${name}`)
      }
    }
  },
)

t.test('a changed configuration is another pod, but for dashboards, which Grafana reads again', async (t) => {
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

t.test('roles name what they allow, in this namespace, and only Prometheus has one', async (t) => {
  for (const stack of stacks) {
    t.notOk(
      stack.manifests.some(({ kind }) => kind.startsWith('ClusterRole')),
      `${stack.name}: nothing of the cluster`,
    )
    const operator = stack.name.includes('prometheus-operator')
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

t.test('every container requests and is limited in cpu, memory and disk', async (t) => {
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

t.test('the memory that storage-api may use is reserved, and is that of Compose', async (t) => {
  const { requests, limits } = (stack.pod('storage-api').spec.containers[0] as Container).resources
  t.equal(requests.memory, limits.memory, 'reserved')
  t.equal(limits.memory, '512Mi', 'limit')
  t.match(
    readFileSync('compose/storage-api/compose.yaml', 'utf8'),
    '{STORAGE_API_MEMORY:-512m}',
    'limit of Compose',
  )
})

t.test('everything says what it is and belongs to', async (t) => {
  for (const { where, manifest } of documents) {
    const labels = manifest.metadata.labels
    t.ok(labels[NAME], `name: ${where}`)
    t.equal(labels['app.kubernetes.io/part-of'], 'storage-api', `part-of: ${where}`)
    if (['Namespace storage-api', 'NetworkPolicy default-deny'].some((whole) => where.endsWith(whole)))
      continue
    t.ok(labels['app.kubernetes.io/component'], `component: ${where}`)
  }
  for (const { where, name, stack, pod } of pods) {
    const deployment = stack.get('Deployment', name)
    t.strictSame(pod.metadata.labels, deployment?.metadata.labels, `a pod as its Deployment: ${where}`)
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

t.test('storage-api has the time to lose no request', async (t) => {
  for (const stack of stacks) {
    const { spec } = stack.get('Deployment', 'storage-api') as Manifest<'Deployment'>
    const pod = spec.template.spec
    const { lifecycle, env } = pod.containers[0] as Container
    const drain = Number(env.find(({ name }) => name === 'DRAIN_SECONDS')?.value)
    const { seconds } = lifecycle.preStop.sleep
    t.ok(seconds > 0, `${stack.name}: waits until no Service leads to it`)
    t.ok(
      seconds + drain + FINISH_SECONDS < pod.terminationGracePeriodSeconds,
      `${stack.name}: sleeping, draining and finishing take less than the grace period`,
    )
    t.strictSame(
      [spec.replicas, spec.strategy],
      [1, { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } }],
      `${stack.name}: the next pod is ready before this one is ended, and objects are in one`,
    )
  }
  t.match(readFileSync('src/server.ts', 'utf8'), `FINISH_MS = ${FINISH_SECONDS}_000`, 'FINISH_MS')
})

t.test('no variable comes from the names of Services', async (t) => {
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

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { lacking, outputOf, run } from '../process.ts'
import { files, type Manifest, type Pod, stack, stackOf, stacks, stacksWith } from './manifests.ts'

const read = (...path: string[]) => readFileSync(join(...path), 'utf8')
const PROMETHEUS = files(stack, 'prometheus', 'configuration')
const GRAFANA = files(stack, 'grafana', 'configuration')
const composed = parse(read('compose/prometheus/prometheus.yml'))
const discovering = parse(PROMETHEUS['prometheus.yml'] ?? '')

/** The bytes of a quantity such as `5Gi`. */
const bytes = (quantity: string) => Number(quantity.replace('Gi', '')) * 2 ** 30

t.test(
  'promtool accepts the mounted configuration of Prometheus',
  { skip: lacking('promtool') },
  async (t) => {
    const directory = t.testdir(PROMETHEUS as Record<string, string>)
    const check = await run(['promtool', 'check', 'config', join(directory, 'prometheus.yml')])
    t.equal(check.status, 0, check.stdout + check.stderr)
    t.match(check.stdout, /2 rule files found/, 'rule files')
  },
)

t.test('the rules and alerts are the files of Compose, byte for byte', async (t) => {
  for (const file of ['rules.yml', 'alerts.yml'])
    t.equal(PROMETHEUS[file], read('compose/prometheus', file), file)
})

t.test('Grafana reads the files of Compose, byte for byte, at the same paths', async (t) => {
  const paths = [
    'grafana.ini',
    'provisioning/datasources/prometheus.yaml',
    'provisioning/dashboards/storage-api.yaml',
    'provisioning/alerting/none.yaml',
    'provisioning/plugins/none.yaml',
    'dashboards/storage-api.json',
    'dashboards/storage-api-runbooks.json',
  ]
  t.strictSame(Object.keys(GRAFANA), paths, 'paths')
  for (const path of paths) t.equal(GRAFANA[path], read('compose/grafana', path), path)
  const dashboards = stacks.map((stack) => stack.get('ConfigMap', 'grafana-dashboards')?.data)
  t.strictSame(
    dashboards,
    stacks.map(() => ({
      'storage-api.json': GRAFANA['dashboards/storage-api.json'],
      'storage-api-runbooks.json': GRAFANA['dashboards/storage-api-runbooks.json'],
    })),
  )
})

t.test('configuration and data are mounted where Compose mounts them', async (t) => {
  const withEngine = stackOf('replicated', 'valkey')
  for (const name of ['prometheus', 'grafana', 'valkey']) {
    const service = parse(read('compose', name, 'compose.yaml')).services[name]
    const targets: string[] = [
      ...service.volumes.map((volume: string) => volume.split(':')[1]),
      ...(service.tmpfs ?? []),
    ]
    const mounts = withEngine.pod(name).spec.containers.flatMap(({ volumeMounts }) => volumeMounts)
    for (const target of targets) {
      t.ok(
        mounts.some(({ mountPath }) => target === mountPath || target.startsWith(`${mountPath}/`)),
        `mounted: ${target}`,
      )
    }
  }
})

t.test('Prometheus keeps exemplars, as in Compose', async (t) => {
  const flag = '--enable-feature=exemplar-storage'
  const { command } = parse(read('compose/prometheus/compose.yaml')).services.prometheus
  t.ok(command.includes(flag))
  t.ok(stack.pod('prometheus').spec.containers[0]?.args?.includes(flag))
  t.ok(composed.storage.exemplars.max_exemplars > 0)
})

t.test('Prometheus scrapes as in Compose, but each pod instead of a Service', async (t) => {
  const { scrape_configs: composedJobs, ...composedRest } = composed
  const { scrape_configs: jobs, ...rest } = discovering
  t.strictSame(rest, composedRest, 'intervals, rule files and exemplars')
  t.equal(jobs.length, 1, 'one job')
  const { static_configs, ...job } = composedJobs[0]
  const { kubernetes_sd_configs, relabel_configs, ...scrape } = jobs[0]
  t.strictSame(scrape, job, 'job and limits')

  const [{ role, namespaces, selectors }] = kubernetes_sd_configs
  t.strictSame([role, namespaces], ['pod', { own_namespace: true }], 'pods of its own namespace')
  const [{ label, ...selector }] = selectors
  t.strictSame(selector, { role: 'pod', field: 'status.phase=Running' }, 'pods that run')
  const selected = stack.pods.filter(([, { metadata }]) => {
    const [name, value] = label.split('=')
    return metadata.labels[name] === value
  })
  t.strictSame(
    selected.map(([name]) => name),
    ['storage-api'],
    'service discovery selects its pods alone',
  )

  const [keep, instance] = relabel_configs
  t.match(keep, { source_labels: ['__meta_kubernetes_pod_container_port_name'], action: 'keep' })
  const ports = stack.pod('storage-api').spec.containers.flatMap(({ ports }) => ports)
  t.match(
    ports.filter(({ name }) => RegExp(`^(?:${keep.regex})$`).test(name)),
    [{ containerPort: 5000 }],
  )
  t.strictSame(
    instance,
    { source_labels: ['__meta_kubernetes_pod_name'], target_label: 'instance' },
    'instance',
  )
})

t.test('Prometheus keeps data as long as in Compose, in less than its volume', async (t) => {
  const { args } = stack.pod('prometheus').spec.containers[0] as Pod['spec']['containers'][0]
  const { command } = parse(read('compose/prometheus/compose.yaml')).services.prometheus
  const size = '--storage.tsdb.retention.size='
  const withoutSize = (flags: string[]) => flags.filter((flag) => !flag.startsWith(size))
  t.strictSame(withoutSize(args), withoutSize(command), 'flags')
  const limit = args.find((flag) => flag.startsWith(size))?.slice(size.length) ?? ''
  const volume = stack.get('PersistentVolumeClaim', 'prometheus') as Manifest<'PersistentVolumeClaim'>
  const share =
    (Number(limit.replace('GB', '')) * 2 ** 30) / bytes(volume.spec.resources.requests.storage as string)
  t.ok(share > 0.5 && share <= 0.8, `retention.size is ${share} of the volume`)
})

t.test('the PrometheusRule is the output of npm run prometheus-rule', async (t) => {
  const made = await outputOf([process.execPath, 'k8s/components/prometheus-operator/prometheus-rule.ts'])
  t.equal(read('k8s/components/prometheus-operator/prometheus-rule.yaml'), made, 'the file is up to date')
  const groups = ['rules.yml', 'alerts.yml'].flatMap((file) => parse(read('compose/prometheus', file)).groups)
  for (const { name, rule } of withOperator()) {
    t.strictSame(rule?.spec.groups, groups, `${name}: the groups of the files`)
  }
})

t.test('the ServiceMonitor scrapes as Prometheus does, under the same job and instance', async (t) => {
  const { global } = composed
  const [{ job_name, sample_limit }] = composed.scrape_configs
  for (const { name, monitor } of withOperator()) {
    t.equal(monitor?.spec.sampleLimit, sample_limit, `${name}: sample limit`)
    t.strictSame(
      monitor?.spec.endpoints,
      [
        {
          port: 'http',
          interval: global.scrape_interval,
          scrapeTimeout: global.scrape_timeout,
          relabelings: [
            { action: 'replace', targetLabel: 'job', replacement: job_name },
            {
              action: 'replace',
              sourceLabels: ['__meta_kubernetes_pod_name'],
              targetLabel: 'instance',
            },
          ],
        },
      ],
      `${name}: endpoints`,
    )
  }
})

t.test(
  'with the Prometheus Operator its Grafana finds the dashboard, and the stack has no own Grafana and Prometheus',
  async (t) => {
    for (const { name, manifests, dashboard } of withOperator()) {
      t.equal(dashboard?.metadata.labels.grafana_dashboard, '1', `${name}: the label for the sidecar`)
      const left = manifests.filter(({ metadata }) =>
        ['prometheus', 'grafana'].includes(metadata.labels['app.kubernetes.io/name'] as string),
      )
      t.strictSame(left, [dashboard], `${name}: nothing else of Prometheus and Grafana`)
    }
  },
)

t.test('Valkey has the command and the health check of Compose', async (t) => {
  const { command, healthcheck } = parse(read('compose/valkey/compose.yaml')).services.valkey
  const inPod = (text: string) => text.replaceAll('$$', '$')
  for (const stack of stacksWith('valkey')) {
    const conf = { 'valkey.conf': read('compose/valkey/valkey.conf') }
    t.strictSame(files(stack, 'valkey', 'configuration'), conf, `${stack.name}: configuration`)
    const [container] = stack.pod('valkey').spec.containers as [Pod['spec']['containers'][0]]
    t.strictSame(container.command, command.map(inPod), `${stack.name}: command`)
    const asked = ['sh', '-c', inPod(healthcheck.test[1])]
    t.strictSame(container.startupProbe.exec.command, asked, `${stack.name}: startup`)
    t.strictSame(container.readinessProbe.exec.command, asked, `${stack.name}: readiness`)
  }
})

t.test(
  'Valkey has the memory of Compose, and a volume that is large enough for a rewrite of its file',
  async (t) => {
    const { mem_limit } = parse(read('compose/valkey/compose.yaml')).services.valkey
    const [, maxmemory] = /^maxmemory (\d+)mb$/m.exec(read('compose/valkey/valkey.conf')) ?? []
    for (const stack of stacksWith('valkey')) {
      const { spec } = stack.get('StatefulSet', 'valkey') as Manifest<'StatefulSet'>
      const [{ resources }] = spec.template.spec.containers as [Pod['spec']['containers'][0]]
      t.equal(resources.limits.memory, mem_limit.replace('m', 'Mi'), `${stack.name}: limit`)
      t.equal(resources.requests.memory, resources.limits.memory, `${stack.name}: reserved`)
      const data = Number(maxmemory) * 2 ** 20
      t.ok(
        data <= (parseInt(mem_limit, 10) * 2 ** 20 * 2) / 3,
        `${stack.name}: a third is left for everything else`,
      )
      const [claim] = spec.volumeClaimTemplates as [Manifest<'PersistentVolumeClaim'>]
      const volume = bytes(claim.spec.resources.requests.storage as string)
      t.ok(volume >= 4 * data, `${stack.name}: two files of twice the data`)
    }
  },
)

/** The combinations with the component `prometheus-operator`. */
function withOperator() {
  return stacksWith('prometheus-operator').map((stack) => ({
    name: stack.name,
    manifests: stack.manifests,
    rule: stack.get('PrometheusRule', 'storage-api'),
    monitor: stack.get('ServiceMonitor', 'storage-api'),
    dashboard: stack.get('ConfigMap', 'grafana-dashboards'),
  }))
}

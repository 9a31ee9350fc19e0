import t from 'tap'
import { type Labels, type Manifest, type Stack, selects, stacks } from './manifests.ts'

type Policy = Manifest<'NetworkPolicy'>
type Rule = Partial<Policy['spec']['ingress'][0] & Policy['spec']['egress'][0]>

/** One end of a connection: a pod, or an address outside the cluster. */
interface Party {
  namespace?: string
  labels?: Labels
  ip?: string
}

interface Port {
  port: number
  protocol: string
}

const OWN = 'storage-api'
const NAMESPACES = [OWN, 'default', 'monitoring', 'ingress-nginx', 'kube-system']
const LABELS: Record<string, Labels> = {
  client: { 'storage-api-client': 'true' },
  dns: { 'k8s-app': 'kube-dns' },
  other: {},
  ...Object.fromEntries(
    ['storage-api', 'prometheus', 'grafana', 'valkey', 'ingress-nginx'].map((name) => [
      name,
      { 'app.kubernetes.io/name': name },
    ]),
  ),
}
/** Pods of every kind in every namespace, `monitoring/prometheus`, and two addresses. */
const PARTIES = new Map<string, Party>([
  ...NAMESPACES.flatMap((namespace) =>
    Object.entries(LABELS).map(([name, labels]): [string, Party] => [
      `${namespace}/${name}`,
      { namespace, labels },
    ]),
  ),
  ['node/dns-cache', { ip: '169.254.20.10' }],
  ['cluster/api-server', { ip: '10.96.0.1' }],
])
const PORTS: Port[] = [
  ...[443, 3000, 5000, 6379, 6443, 9090].map((port) => ({ port, protocol: 'TCP' })),
  { port: 53, protocol: 'TCP' },
  { port: 53, protocol: 'UDP' },
]

/** Whether a rule allows connections with this party at this port. Its peers are in `from` or `to`. */
function passes({ from, to, ports = [] }: Rule, party: Party, { port, protocol }: Port): boolean {
  const portPasses =
    ports.length === 0 || ports.some((allowed) => allowed.port === port && allowed.protocol === protocol)
  const peers = from ?? to
  return (
    portPasses &&
    (peers === undefined ||
      peers.some(({ ipBlock, namespaceSelector, podSelector }) => {
        if (ipBlock !== undefined) return ipBlock.cidr === `${party.ip}/32`
        const { namespace, labels } = party
        if (namespace === undefined || labels === undefined) return false
        const inNamespace =
          namespaceSelector === undefined
            ? namespace === OWN
            : selects(namespaceSelector, { 'kubernetes.io/metadata.name': namespace })
        return inNamespace && (podSelector === undefined || selects(podSelector, labels))
      }))
  )
}

/** The allowed connections to or from the pods of the namespace: `from -> to 5000/TCP`. */
function traffic(stack: Stack, direction: 'Ingress' | 'Egress'): string[] {
  return [...PARTIES].flatMap(([own, { namespace, labels = {} }]) => {
    if (namespace !== OWN) return []
    const policies = stack
      .all('NetworkPolicy')
      .filter(({ spec }) => spec.policyTypes.includes(direction) && selects(spec.podSelector, labels))
    // Without a policy for the direction everything is allowed.
    const rules: Rule[] =
      policies.length === 0
        ? [{}]
        : policies.flatMap(({ spec }): Rule[] => (direction === 'Ingress' ? spec.ingress : spec.egress) ?? [])
    return [...PARTIES].flatMap(([other, party]) =>
      PORTS.filter((port) => rules.some((rule) => passes(rule, party, port))).map(({ port, protocol }) => {
        const [from, to] = direction === 'Ingress' ? [other, own] : [own, other]
        return `${from} -> ${to} ${port}/${protocol}`
      }),
    )
  })
}

const CLIENT = 'storage-api/client -> storage-api/storage-api 5000/TCP'
const SCRAPE = 'storage-api/prometheus -> storage-api/storage-api 5000/TCP'
const QUERY = 'storage-api/grafana -> storage-api/prometheus 9090/TCP'
const KEEP = 'storage-api/storage-api -> storage-api/valkey 6379/TCP'
const namesFor = (from: string) =>
  ['kube-system/dns', 'node/dns-cache'].flatMap((to) =>
    ['TCP', 'UDP'].map((protocol) => `${from} -> ${to} 53/${protocol}`),
  )
/** No selector can select the API server, so that every party is allowed at its ports. */
const API_SERVER = [...PARTIES.keys()].flatMap((to) =>
  [443, 6443].map((port) => `storage-api/prometheus -> ${to} ${port}/TCP`),
)

for (const stack of stacks) {
  t.test(
    `the network policies of ${stack.name} allow the connections that each part needs, and no others`,
    async (t) => {
      const operator = stack.has('prometheus-operator')
      const incoming = [
        CLIENT,
        SCRAPE,
        ...(operator ? ['monitoring/prometheus -> storage-api/storage-api 5000/TCP'] : [QUERY]),
        ...(stack.has('ingress') ? ['ingress-nginx/ingress-nginx -> storage-api/storage-api 5000/TCP'] : []),
        ...(stack.has('valkey') ? [KEEP] : []),
      ]
      const outgoing = [CLIENT, ...namesFor('storage-api/client')]
      if (!operator) {
        const callers = ['storage-api/prometheus', 'storage-api/grafana']
        outgoing.push(SCRAPE, QUERY, ...callers.flatMap(namesFor), ...API_SERVER)
      }
      if (stack.has('replicated')) outgoing.push(KEEP, ...namesFor('storage-api/storage-api'))
      t.strictSame(traffic(stack, 'Ingress').sort(), incoming.sort(), 'what may come in')
      t.strictSame(traffic(stack, 'Egress').sort(), outgoing.sort(), 'what may go out')
    },
  )

  t.test(
    `every pod of ${stack.name} has its own network policy for both directions, and one denies the rest`,
    async (t) => {
      for (const [name, { metadata }] of stack.pods) {
        const own = stack.get('NetworkPolicy', name)
        t.ok(own && selects(own.spec.podSelector, metadata.labels), `own network policy: ${name}`)
        t.strictSame(own?.spec.policyTypes, ['Ingress', 'Egress'], `both directions: ${name}`)
      }
      const rest = stack.get('NetworkPolicy', 'default-deny')?.spec
      t.strictSame(rest, { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }, 'default deny: every pod')
    },
  )
}

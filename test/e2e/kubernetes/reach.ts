/** Who reaches whom in the cluster: each connection is tried. */
import type { Test } from 'tap'
import { eventually } from '../prometheus.ts'
import { debug, evaluate, get, kubectl, OTHER_NAMESPACE, pods, startScript } from './cluster.ts'

/** A TCP port, or a DNS server that is asked for a name. */
interface Goal {
  host: string
  port: number
  name?: string
}

interface Service {
  spec: { clusterIP: string; ports: { port: number }[] }
}

/** How a script runs at one of the callers. */
type Caller = (script: string) => Promise<Record<string, boolean>>

const OUTSIDE_PORT = 8080
const WAIT_MS = 3000

const scriptFor = (goals: Record<string, Goal>) => `
  import { Resolver } from 'node:dns/promises'
  import { connect } from 'node:net'
  const tcp = (goal) => new Promise((resolve) => {
    const socket = connect({ ...goal, timeout: ${WAIT_MS} })
    const end = (reached) => () => { socket.destroy(); resolve(reached) }
    socket.once('connect', end(true)).once('timeout', end(false)).once('error', end(false))
  })
  const dns = ({ host, name }) => {
    const resolver = new Resolver({ timeout: ${WAIT_MS}, tries: 1 })
    resolver.setServers([host])
    // An answer is an answer, even if the cluster has another domain.
    return resolver.resolve4(name).then(() => true, ({ code }) => code === 'ENOTFOUND')
  }
  const goals = ${JSON.stringify(goals)}
  const tried = Object.entries(goals).map(async ([to, goal]) => [to, await (goal.name ? dns : tcp)(goal)])
  console.log(JSON.stringify(Object.fromEntries(await Promise.all(tried))))`

/** Starts the pods that are nobody's part of the stack; they stay until their namespaces go. */
export async function startStrangers(): Promise<void> {
  await kubectl(['create', 'namespace', OTHER_NAMESPACE])
  const idle = 'setInterval(() => {}, 1e6)'
  const listen = `import { createServer } from 'node:http'; createServer((_, response) => response.end()).listen(${OUTSIDE_PORT})`
  const labels = { 'storage-api-client': 'true' }
  await Promise.all([
    startScript('admitted', idle, { labels }),
    startScript('stranger', idle),
    startScript('elsewhere', idle, { namespace: OTHER_NAMESPACE, labels }),
    startScript('outside', listen, { namespace: OTHER_NAMESPACE }),
  ])
}

/**
 * Asserts who reaches whom, and prints the table. Callers and goals that `expected` does not name
 * together must not reach each other.
 */
export async function reaches(t: Test, parts: string[], expected: Record<string, string[]>): Promise<void> {
  const goals: Record<string, Goal> = {}
  for (const name of parts) {
    const { clusterIP: host, ports } = (await get<Service>('service', name)).spec
    goals[name] = { host, port: ports[0]?.port as number }
  }
  const ip = async (...args: string[]) => JSON.parse(await kubectl(['get', '--output=json', ...args]))
  const outside = await ip('pod', 'outside', '--namespace', OTHER_NAMESPACE)
  goals.outside = { host: outside.status.podIP, port: OUTSIDE_PORT }
  const { spec: api } = (await ip('service', 'kubernetes', '--namespace', 'default')) as Service
  goals['API server'] = { host: api.clusterIP, port: api.ports[0]?.port as number }
  const { spec: dns } = (await ip('service', 'kube-dns', '--namespace', 'kube-system')) as Service
  goals.DNS = { host: dns.clusterIP, port: 53, name: 'kubernetes.default.svc.cluster.local' }

  const callers: Record<string, Caller> = {
    admitted: (script) => evaluate('admitted', script),
    stranger: (script) => evaluate('stranger', script),
    elsewhere: (script) => evaluate('elsewhere', script, OTHER_NAMESPACE),
  }
  for (const part of parts) {
    const [pod] = await pods(part)
    callers[part] = (script) => debug(pod?.metadata.name as string, script)
  }

  const script = scriptFor(goals)
  const rows = Object.entries(callers).map(async ([from, call]) => {
    const wanted = Object.fromEntries(
      Object.keys(goals).map((to) => [to, expected[from]?.includes(to) ?? false]),
    )
    // A node enforces a policy for a new pod soon after the pod's start.
    const found = await eventually(
      () => call(script),
      (found) => JSON.stringify(found) === JSON.stringify(wanted),
      60,
    )
    t.strictSame(found, wanted, `what ${from} reaches`)
    return [from, found] as const
  })
  const table = await Promise.all(rows)
  const width = Math.max(...Object.keys(callers).map(({ length }) => length))
  t.comment(['from \\ to'.padEnd(width), ...Object.keys(goals)].join(' | '))
  for (const [from, found] of table) {
    const cells = Object.entries(found).map(([to, is]) => (is ? 'yes' : '-').padEnd(to.length))
    t.comment([from.padEnd(width), ...cells].join(' | '))
  }
}

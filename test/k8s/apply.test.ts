/**
 * `kubectl diff -k k8s` is empty after an apply only if the API server stores the manifests as they
 * are. It drops fields that are empty, and it adds defaults. kubectl takes an added default for a
 * change in a list that has no merge key, because it replaces such a list as a whole. Of a StatefulSet
 * and a PodDisruptionBudget it sends a change at every apply all the same, but the diff is empty.
 */
import t from 'tap'
import { stacks } from './manifests.ts'

/** The paths to properties that the API server drops: empty lists, empty strings and null. */
function empty(value: unknown, path: string): string[] {
  if (value === null || value === '' || (Array.isArray(value) && value.length === 0)) return [path]
  if (Array.isArray(value))
    // `apiGroups: [""]` is the core group.
    return value.flatMap((item, index) => (item === '' ? [] : empty(item, `${path}[${index}]`)))
  if (typeof value !== 'object') return []
  return Object.entries(value).flatMap(([key, item]) => empty(item, `${path}.${key}`))
}

for (const stack of stacks) {
  t.test(`the API server stores ${stack.name} as it is written`, async (t) => {
    for (const manifest of stack.manifests) {
      const where = `${manifest.kind} ${manifest.metadata.name}`
      t.strictSame(empty(manifest, where), [], `nothing is empty: ${where}`)
    }
    for (const { metadata, spec } of stack.all('NetworkPolicy')) {
      for (const { ports = [] } of [...(spec.ingress ?? []), ...(spec.egress ?? [])]) {
        for (const { port, protocol } of ports)
          t.ok(protocol, `NetworkPolicy ${metadata.name}: the protocol of port ${port}`)
      }
    }
    for (const { metadata, spec } of stack.all('ServiceMonitor')) {
      for (const { targetLabel, action } of spec.endpoints.flatMap(({ relabelings = [] }) => relabelings))
        t.ok(action, `ServiceMonitor ${metadata.name}: the action for the label ${targetLabel}`)
    }
  })
}

/**
 * Prints the PrometheusRule of Compose's rules and alerts. `npm run prometheus-rule` keeps it in prometheus-rule.yaml.
 */
import { readFileSync } from 'node:fs'
import type { IPrometheusRule } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1'
import { parse, stringify } from 'yaml'

const FILES = ['compose/prometheus/rules.yml', 'compose/prometheus/alerts.yml']

const rule: IPrometheusRule = {
  apiVersion: 'monitoring.coreos.com/v1',
  kind: 'PrometheusRule',
  metadata: {
    name: 'storage-api',
    labels: {
      'app.kubernetes.io/name': 'storage-api',
      'app.kubernetes.io/component': 'monitoring',
      'app.kubernetes.io/part-of': 'storage-api',
    },
  },
  spec: { groups: FILES.flatMap((file) => parse(readFileSync(file, 'utf8')).groups) },
}
process.stdout.write(
  `# Made by \`npm run prometheus-rule\` from ${FILES.join(' and ')}.\n${stringify(rule, { lineWidth: 0 })}`,
)

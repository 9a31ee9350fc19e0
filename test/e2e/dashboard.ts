/** The dashboard as somebody sees it who has picked nothing: all jobs and instances, and rates over a minute. */
import { readFileSync } from 'node:fs'

interface Target {
  expr: string
}

export interface Panel {
  type: string
  title: string
  targets: Target[]
  fieldConfig: {
    defaults: {
      thresholds: { steps: { value: number | null; color: string }[] }
      mappings?: { options: { from: number; to: number | null; result: { color: string } } }[]
    }
  }
}

interface Dashboard {
  panels: (Panel & { panels?: Panel[] })[]
  annotations: { list: { name: string; target: Target }[] }
  templating: { list: { name: string; definition?: string }[] }
}

export const dashboard: Dashboard = JSON.parse(
  readFileSync('compose/grafana/dashboards/storage-api.json', 'utf8'),
)

/** Those of collapsed rows too. */
export const panels: Panel[] = dashboard.panels.flatMap((panel) =>
  panel.type === 'row' ? (panel.panels ?? []) : [panel],
)

/** Panels of an engine over a network, which the memory engine leaves empty. */
export const isOfEngine = ({ title }: { title: string }) => title.startsWith('Engine')

const VARIABLES: Record<string, string> = { $job: '.*', $instance: '.*', $__rate_interval: '1m' }

/** A query without Grafana's variables. */
export const promql = (expr: string) => expr.replace(/\$\w+/g, (variable) => VARIABLES[variable] as string)

/** The color of a figure, as Grafana chooses it: without a value the first of the thresholds. */
export function colorOf({ fieldConfig: { defaults } }: Panel, value?: number): string | undefined {
  const { thresholds, mappings = [] } = defaults
  const isIn = ({ from, to }: { from: number; to: number | null }) =>
    value !== undefined && from <= value && value <= (to ?? Number.POSITIVE_INFINITY)
  const mapped = mappings.find(({ options }) => isIn(options))
  const step = thresholds.steps.findLast((step) => step.value === null || (value ?? Number.NaN) >= step.value)
  return mapped?.options.result.color ?? step?.color
}

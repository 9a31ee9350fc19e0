/** The dashboard with its default variables: all jobs and instances, and rates over a minute. */
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

/** All panels, including those of collapsed rows. */
export const panels: Panel[] = dashboard.panels.flatMap((panel) =>
  panel.type === 'row' ? (panel.panels ?? []) : [panel],
)

/** Whether a panel is about an engine over a network. With the memory engine it is empty. */
export const isOfEngine = ({ title }: { title: string }) => title.startsWith('Engine')

const VARIABLES: Record<string, string> = { $job: '.*', $instance: '.*', $__rate_interval: '1m' }

/** A query with Grafana's variables replaced. */
export const promql = (expr: string) => expr.replace(/\$\w+/g, (variable) => VARIABLES[variable] as string)

/**
 * The color that Grafana gives to a figure. Without a value it is the color of the first threshold.
 */
export function colorOf({ fieldConfig: { defaults } }: Panel, value?: number): string | undefined {
  const { thresholds, mappings = [] } = defaults
  const isIn = ({ from, to }: { from: number; to: number | null }) =>
    value !== undefined && from <= value && value <= (to ?? Number.POSITIVE_INFINITY)
  const mapped = mappings.find(({ options }) => isIn(options))
  const step = thresholds.steps.findLast((step) => step.value === null || (value ?? Number.NaN) >= step.value)
  return mapped?.options.result.color ?? step?.color
}

import { OPENMETRICS } from './format.ts'

type Labels = Readonly<Partial<Record<string, string | number>>>

/** One observation of a bucket. */
export interface Exemplar {
  /** At most 128 characters, names and values together. */
  readonly labelSet: Labels
  readonly value: number
  /** In Unix seconds. */
  readonly timestamp: number
}

/** One line of a page. */
export interface Sample {
  /** The family's name, unless given. */
  readonly metricName?: string
  readonly labels?: Labels
  /** Labels that adjacent samples share, as one object. They come last. */
  readonly sharedLabels?: Labels
  readonly value: number
  readonly exemplar?: Exemplar | null | undefined
}

/** A metric with its samples, as a registry's `getMetricsAsJSON()` returns it. */
export interface Family {
  readonly name: string
  readonly help: string
  readonly type: string
  readonly values?: readonly Sample[]
}

/** The differences between the formats. */
interface Syntax {
  /** The lines before a family's samples. */
  head(family: Family): string
  /** The name of a sample. */
  sampleName(name: string, type: string): string
  /** The bound of a bucket, or a quantile. */
  bound(value: string | number): string
  exemplar(exemplar: Exemplar): string
  separator: string
  end: string
}

const text: Syntax = {
  head: ({ name, help, type }) => `# HELP ${name} ${escapeLine(help)}\n# TYPE ${name} ${type}\n`,
  sampleName: (name) => name,
  bound: String,
  exemplar: () => '',
  separator: '\n',
  end: '',
}

/**
 * Source: OpenMetrics 1.0, "Overall Structure", "Counter", "Exemplars" and "Considerations:
 * Canonical Numbers".
 */
const openMetrics: Syntax = {
  head({ name, help, type }) {
    const family = type === 'counter' ? name.replace(/_total$/, '') : name
    const [, unit] = /_(seconds|bytes)$/.exec(family) ?? []
    const lines = [`TYPE ${family} ${type}`, `HELP ${family} ${escapeValue(help)}`]
    if (unit !== undefined) lines.push(`UNIT ${family} ${unit}`)
    return lines.map((line) => `# ${line}\n`).join('')
  },
  sampleName: (name, type) => (type === 'counter' ? name.replace(/(?:_total)?$/, '_total') : name),
  bound,
  exemplar: ({ labelSet, value, timestamp }) =>
    ` # {${labelPairs(labelSet, openMetrics)}} ${number(value)} ${timestamp}`,
  separator: '',
  end: '# EOF\n',
}

/**
 * Writes a page in a format. The families are what a registry's `getMetricsAsJSON()` returns, and
 * the samples are the same in both formats. The text format is the same as the client library's.
 * The library does not write OpenMetrics here, because it would rename the counters of its
 * registry.
 */
export function writePage(families: readonly Family[], format: string): string {
  const syntax = format === OPENMETRICS ? openMetrics : text
  return families.map((family) => writeFamily(family, syntax)).join(syntax.separator) + syntax.end
}

function writeFamily(family: Family, syntax: Syntax): string {
  const { name, type, values = [] } = family
  let page = syntax.head(family)
  let sharedLabels: Labels | undefined
  let sharedPairs = ''
  for (const sample of values) {
    if (sample.sharedLabels !== sharedLabels) {
      sharedLabels = sample.sharedLabels
      sharedPairs = labelPairs(sharedLabels, syntax)
    }
    const pairs = labelPairs(sample.labels, syntax)
    const all = pairs && sharedPairs ? `${pairs},${sharedPairs}` : pairs + sharedPairs
    page += `${syntax.sampleName(sample.metricName ?? name, type)}${all && `{${all}}`} ${number(sample.value)}`
    if (sample.exemplar) page += syntax.exemplar(sample.exemplar)
    page += '\n'
  }
  return page
}

function labelPairs(labels: Labels | undefined, { bound }: Syntax): string {
  let pairs = ''
  for (const name in labels) {
    const value = labels[name] as string | number
    const isBound = name === 'le' || name === 'quantile'
    pairs += `${pairs && ','}${name}="${isBound ? bound(value) : escapeValue(`${value}`)}"`
  }
  return pairs
}

function number(value: number): string {
  return Number.isFinite(value) || Number.isNaN(value) ? `${value}` : value > 0 ? '+Inf' : '-Inf'
}

/**
 * The bounds of the histograms. They are few, and formatting one takes as long as the rest of its
 * line.
 */
const canonicalNumbers = new Map<string | number, string>()

function bound(value: string | number): string {
  const known = canonicalNumbers.get(value)
  if (known !== undefined) return known
  const text = canonicalNumber(value)
  canonicalNumbers.set(value, text)
  return text
}

/**
 * A finite number as Go's `%g` and Python format it, and always as a float: `1.0`, `5e-05`,
 * `1e+06`.
 */
function canonicalNumber(value: string | number): string {
  if (typeof value === 'string') return value
  const [mantissa, exponent = ''] = value.toExponential().split('e')
  const power = Number(exponent)
  if (power < -4 || power > 5) return `${mantissa}e${exponent[0]}${exponent.slice(1).padStart(2, '0')}`
  return Number.isInteger(value) ? `${value}.0` : `${value}`
}

const escapeLine = (help: string) => help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
const escapeValue = (value: string) => escapeLine(value).replaceAll('"', '\\"')

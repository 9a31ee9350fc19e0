import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Comparison, type Figure, median, type Round, ratio } from './compare.ts'
import { isExpected, WORKLOADS, type WorkloadName } from './workloads.ts'

type Comparisons = ReadonlyMap<WorkloadName, Comparison>

/** How much two copies of the same program may differ on a quiet machine. */
const COPIES_TOLERANCE = 0.06

/** How much of a core other programs may use. */
const OTHERS_CORES = 0.1

const percent = (share: number) => `${(100 * share).toFixed(0)} %`

/** A table of medians. The ratios compare the first contender with each of the others. */
export function table(workload: WorkloadName, { rounds }: Comparison): string {
  const [[mine, first] = ['', []]] = Object.entries(rounds)
  const rows = Object.entries(rounds).map(([name, its]) => {
    const figure = (of: Figure | 'p50Ms' | 'p99Ms', digits: number) =>
      median(its.map((round) => round[of])).toFixed(digits)
    const columns = [
      figure('requestsPerSecond', 0),
      ratio(first, its, 'requestsPerSecond').toFixed(2),
      figure('cpuMicroseconds', 1),
      ratio(first, its, 'cpuMicroseconds').toFixed(2),
      figure('p50Ms', 2),
      figure('p99Ms', 2),
    ]
    return `| ${name} | ${columns.join(' | ')} |`
  })
  return [
    `| ${workload} | requests per second | ${mine} : this | CPU per request, µs | ${mine} : this | p50, ms | p99, ms |`,
    '|---|---|---|---|---|---|---|',
    ...rows,
  ].join('\n')
}

/** One table per figure: the ratios of the first contender to each of the others, by workload. */
export function ratios(comparisons: Comparisons): string[] {
  const names = new Set([...comparisons.values()].flatMap(({ rounds }) => Object.keys(rounds)))
  const [mine, ...others] = names
  const titles: Record<Figure, string> = {
    cpuMicroseconds: 'CPU per request',
    requestsPerSecond: 'requests per second',
  }
  return (Object.keys(titles) as Figure[]).map((figure) => {
    const rows = [...comparisons].map(([workload, { rounds }]) => {
      const [first = []] = Object.values(rounds)
      const cells = others.map((name) => (rounds[name] ? ratio(first, rounds[name], figure).toFixed(2) : ''))
      return `| ${workload} | ${cells.join(' | ')} |`
    })
    return [
      `| ${titles[figure]}, ${mine} : | ${others.join(' | ')} |`,
      `|---|${'---|'.repeat(others.length)}`,
      ...rows,
    ].join('\n')
  })
}

function unexpected(workload: WorkloadName, rounds: Round[]): string {
  const counts: Record<string, number> = {}
  for (const { answers } of rounds)
    for (const [status, count] of Object.entries(answers))
      if (!isExpected(WORKLOADS[workload], status)) counts[status] = (counts[status] ?? 0) + count
  return Object.entries(counts)
    .map(([status, count]) => `${count} times ${status}`)
    .join(', ')
}

/**
 * A paragraph that says why figures cannot be trusted, if that is so. `copy` is the second copy of
 * the first contender.
 */
export function doubts(comparisons: Comparisons, copy: string): string[] {
  const reasons: string[] = []
  for (const [workload, { rounds, othersCores }] of comparisons) {
    const [first = []] = Object.values(rounds)
    const difference = Math.abs(1 - ratio(first, rounds[copy] ?? [], 'cpuMicroseconds'))
    if (difference > COPIES_TOLERANCE)
      reasons.push(`${workload}: two copies of the same program differ by ${percent(difference)}`)
    if (othersCores > OTHERS_CORES)
      reasons.push(`${workload}: other programs used ${percent(othersCores)} of a core`)
    for (const [name, its] of Object.entries(rounds)) {
      const answers = unexpected(workload, its)
      if (answers !== '') reasons.push(`${workload}: ${name} answered ${answers}`)
    }
  }
  if (reasons.length === 0) return []
  return [
    `**Do not believe these figures**: the machine was too busy, or an answer was wrong.\n\n- ${reasons.join('\n- ')}`,
  ]
}

const DOCUMENT = join(import.meta.dirname, '../../docs/performance.md')

/** Replaces the text between `<!-- NAME -->` and `<!-- /NAME -->` in docs/performance.md. */
export function writeSection(name: string, paragraphs: string[]): void {
  const document = readFileSync(DOCUMENT, 'utf8')
  const section = RegExp(`(<!-- ${name} -->\n)[^]*(<!-- /${name} -->)`)
  if (!section.test(document)) throw new Error(`${DOCUMENT} has no section ${name}`)
  writeFileSync(DOCUMENT, document.replace(section, `$1\n${paragraphs.join('\n\n')}\n\n$2`))
}

/** The decisions of docs/decisions: their form, their numbers and their index. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const DIRECTORY = 'docs/decisions'
const INDEX = 'README.md'

/** A page, so that a decision is read to its end. */
const MAX_LINES = 60

const read = (name: string) => readFileSync(join(DIRECTORY, name), 'utf8')

const pages = readdirSync(DIRECTORY).filter((name) => name !== INDEX)
const numbered = pages.filter((name) => !name.startsWith('draft-'))

t.test('a decision has its title, status and date, context, decision and consequences', async (t) => {
  for (const name of pages) {
    const [, number = '', slug] = /^(\d{4}|draft)-([a-z0-9-]+)\.md$/.exec(name) ?? []
    t.ok(slug, `${name} is NNNN-title.md`)
    const form = [
      `# ${number}: .+\n`,
      '- Status: (?:accepted|superseded by \\d{4})\n- Date: \\d{4}-\\d\\d\n',
      ...['Context', 'Decision', 'Consequences'].map((section) => `## ${section}\n\n(?!##)[^]+?\n`),
    ]
    t.match(read(name), RegExp(`^${form.join('\n')}$`), name)
    t.strictSame(read(name).match(/^## .*/gm), ['## Context', '## Decision', '## Consequences'], name)
  }
})

t.test('a decision fits on a page', async (t) => {
  for (const name of pages) {
    const lines = read(name).split('\n').length - 1
    t.ok(lines <= MAX_LINES, `${name}: ${lines} lines, at most ${MAX_LINES}`)
  }
})

t.test('the decisions are numbered from 0001, without a gap', async (t) => {
  t.strictSame(
    numbered.map((name) => name.slice(0, 4)).sort(),
    numbered.map((_, i) => `${i + 1}`.padStart(4, '0')),
  )
})

t.test('the index has each decision once, with its title and status', async (t) => {
  const rows = read(INDEX).match(/^\| \[.*/gm) ?? []
  const expected = numbered.map((name) => {
    const [, number, title] = /^# (\d{4}): (.*)/.exec(read(name)) ?? []
    const [, status] = /^- Status: (.*)/m.exec(read(name)) ?? []
    return `| [${number}](${name}) | ${title} | ${status} |`
  })
  t.strictSame(rows.sort(), expected.sort())
})

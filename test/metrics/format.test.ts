import { readFileSync } from 'node:fs'
import t from 'tap'
import { OPENMETRICS, preferredFormat, TEXT } from '../../src/metrics/format.ts'

/** What each scraper of docs/metrics.md sends and gets. */
const scrapers = [
  ...readFileSync('docs/metrics.md', 'utf8').matchAll(/^\| ([^|]+) \| `([^|]+)` \| (OpenMetrics|text) \|/gm),
]

t.test('every scraper of docs/metrics.md gets the format that the page says', async (t) => {
  t.ok(scrapers.length > 0)
  for (const [, scraper, accept, format] of scrapers)
    t.equal(preferredFormat(accept), format === 'OpenMetrics' ? OPENMETRICS : TEXT, `${scraper}`)
})

t.test('OpenMetrics is for clients that prefer it', async (t) => {
  for (const accept of [
    'application/openmetrics-text',
    'application/openmetrics-text; version=1.0.0; charset=utf-8',
    'Application/OpenMetrics-Text;version="1.0.0"',
    'text/plain;q=0.5, application/openmetrics-text;q=0.6',
    'application/openmetrics-text, */*',
    'application/openmetrics-text;q=0.001',
    'application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.6,text/plain;q=0.5',
    'text/html, application/openmetrics-text;q=0.1',
  ])
    t.equal(preferredFormat(accept), OPENMETRICS, accept)
})

t.test('everybody else gets the text format', async (t) => {
  for (const accept of [
    undefined,
    '',
    '*/*',
    'text/plain, application/openmetrics-text;q=0.9',
    'application/openmetrics-text;q=0, */*',
    'application/openmetrics-text;version=0.0.1',
    'application/openmetrics-text;version=2.0.0',
    'application/json',
    'text/plain;version=1.0.0;escaping=allow-utf-8',
    ';q=,"',
    ',,,',
    `${' '.repeat(1024)}application/openmetrics-text`,
  ])
    t.equal(preferredFormat(accept), TEXT, accept ?? 'no Accept')
})

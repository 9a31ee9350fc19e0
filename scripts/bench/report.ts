import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const DOCUMENT = join(import.meta.dirname, '../../docs/performance.md')

/** Replaces what docs/performance.md has between `<!-- NAME -->` and `<!-- /NAME -->`. */
export function writeSection(name: string, paragraphs: string[]): void {
  const document = readFileSync(DOCUMENT, 'utf8')
  const section = RegExp(`(<!-- ${name} -->\n)[^]*(<!-- /${name} -->)`)
  if (!section.test(document)) throw new Error(`${DOCUMENT} has no section ${name}`)
  writeFileSync(DOCUMENT, document.replace(section, `$1\n${paragraphs.join('\n\n')}\n\n$2`))
}

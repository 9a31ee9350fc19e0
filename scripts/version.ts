/** Writes the version of package.json into every file that names it. `npm version` runs this before it commits. */
import { globSync, readFileSync, writeFileSync } from 'node:fs'

const RELEASE = '\\d+\\.\\d+\\.\\d+(?:-[\\w.]+)?'

/** Files, and the text before the version in each. */
export const PLACES: [files: string[], before: string][] = [
  [['Dockerfile'], 'ARG VERSION='],
  [['README.md', 'docs/**/*.md', 'compose/**/*.yaml', 'k8s/**/*.yaml'], '\\bstorage-api:'],
  [['k8s/storage-api/kustomization.yaml'], 'app\\.kubernetes\\.io/version: '],
]

/** The versions that a text names, with what stands before them. */
export const versionsIn = (text: string, before: string) => text.match(pattern(before)) ?? []

const pattern = (before: string) => RegExp(`(?<=${before})${RELEASE}`, 'g')

/** The changelog, with the unreleased changes under the version and the day. */
const release = (changelog: string, version: string, day: string) =>
  changelog.replace('## [Unreleased]\n', `## [Unreleased]\n\n## [${version}] - ${day}\n`)

if (import.meta.main) {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
  const rewrite = (file: string, change: (text: string) => string) =>
    writeFileSync(file, change(readFileSync(file, 'utf8')))
  for (const [files, before] of PLACES)
    for (const file of globSync(files)) rewrite(file, (text) => text.replace(pattern(before), version))
  const day = new Date().toISOString().slice(0, 10)
  rewrite('CHANGELOG.md', (text) => release(text, version, day))
}

import { cpSync, globSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { PLACES, versionsIn } from '../../scripts/version.ts'
import { run, temporaryDirectory } from '../process.ts'

/** The versions that the files of a repository name, by file. */
function named(root: string): [file: string, version: string][] {
  return PLACES.flatMap(([patterns, before]) =>
    globSync(patterns, { cwd: root }).flatMap((file) =>
      versionsIn(readFileSync(join(root, file), 'utf8'), before).map((version): [string, string] => [
        file,
        version,
      ]),
    ),
  )
}

const { version, scripts } = JSON.parse(readFileSync('package.json', 'utf8'))

t.test('all files name the version of package.json, and CHANGELOG.md has it', async (t) => {
  const found = named('.')
  for (const [file, other] of found) t.equal(other, version, file)
  const files = new Set(found.map(([file]) => file))
  for (const file of ['Dockerfile', 'README.md', 'compose/storage-api/compose.yaml', 'docs/kubernetes.md'])
    t.ok(files.has(file), file)
  for (const file of ['deployment.yaml', 'kustomization.yaml'])
    t.ok(files.has(`k8s/storage-api/${file}`), file)
  t.match(readFileSync('CHANGELOG.md', 'utf8'), `\n## [${version}] - `)
})

t.test('npm version sets it everywhere, and dates the unreleased changes', async (t) => {
  const { path, remove } = temporaryDirectory('version')
  t.teardown(remove)
  for (const file of [...new Set(named('.').map(([file]) => file)), 'CHANGELOG.md', 'package-lock.json']) {
    cpSync(file, join(path, file), { recursive: true })
  }
  cpSync('scripts/version.ts', join(path, 'scripts/version.ts'))
  // Without a repository it cannot commit.
  const version = scripts.version.replace(/ && git .*/, '')
  writeFileSync(join(path, 'package.json'), JSON.stringify({ version: '1.2.3', scripts: { version } }))
  const { status, stderr } = await run(['npm', 'version', 'minor'], { cwd: path })
  t.equal(status, 0, stderr)
  t.equal(JSON.parse(readFileSync(join(path, 'package-lock.json'), 'utf8')).version, '1.3.0')
  for (const [file, other] of named(path)) t.equal(other, '1.3.0', file)
  t.match(
    readFileSync(join(path, 'CHANGELOG.md'), 'utf8'),
    /^## \[Unreleased\]\n\n## \[1\.3\.0\] - \d{4}-\d\d-\d\d\n/m,
  )
})

/** The documents as documents: their links, their commands, the files and scripts that they name. */
import { globSync, readFileSync } from 'node:fs'
import { dirname, normalize } from 'node:path'
import t from 'tap'
import { anchorsOf, commandsOf, DOCUMENTS, type Kind, linksOf, proseOf } from './documents.ts'
import { runSync } from './process.ts'

const read = (file: string) => readFileSync(file, 'utf8')

/** Files of the repository, and their folders. */
const files = runSync('git', 'ls-files', '--cached', '--others', '--exclude-standard').stdout.split('\n')
const paths = new Set(files.flatMap((file) => [file, ...foldersOf(file)]))

function foldersOf(path: string): string[] {
  const folder = dirname(path)
  return folder === '.' ? ['.'] : [folder, ...foldersOf(folder)]
}

/** Blocks of commands that nobody runs, by their document and their first line. */
const NOT_RUN = [
  'CONTRIBUTING.md: npm version minor',
  // They need a cluster in trouble.
  'docs/runbooks/StorageApiDown.md: kubectl -n storage-api describe pods',
  'docs/runbooks/StorageApiEngineDown.md: kubectl -n storage-api get pods',
  "docs/runbooks/StorageApiEngineSlow.md: kubectl -n storage-api exec valkey-0 -- sh -c 'REDISCLI_AUTH=$(cat /run/secrets/valkey/password) valkey-cli slowlog get 10'",
  'docs/runbooks/StorageApiEventLoopLag.md: kubectl -n storage-api describe deployment storage-api',
  'docs/runbooks/StorageApiRestarted.md: kubectl -n storage-api describe pods',
]

/** On a cluster: test/e2e/kubernetes/document.e2e.ts runs the commands of this one, and counts what it leaves out. */
const ON_CLUSTER = 'docs/kubernetes.md'

const commands = DOCUMENTS.filter((file) => file !== ON_CLUSTER).flatMap(commandsOf)
const linesOf = (file: string, kind: Kind) =>
  commandsOf(file)
    .filter((block) => block.kind === kind)
    .flatMap(({ text }) => text.trim().split('\n'))

t.test("anchors follow GitHub's rule", async (t) => {
  const page = [
    '# `FAULTS`: a drill',
    '## "Why?" (2 reasons)',
    '## GET /api/buckets/:id',
    '## [Name](x.md#y) & more_less',
    '## Über 90 %',
    '```sh\n# no heading\n```',
    '## Why, 2 reasons',
  ].join('\n')
  t.strictSame(
    [...anchorsOf(page)],
    ['faults-a-drill', 'why-2-reasons', 'get-apibucketsid', 'name--more_less', 'über-90-', 'why-2-reasons-1'],
  )
})

t.test('every link leads to a file of the repository, and to one of its headings', async (t) => {
  for (const file of DOCUMENTS) {
    for (const link of linksOf(read(file))) {
      const [path = '', anchor] = link.split('#')
      const target = path === '' ? file : normalize(`${dirname(file)}/${decodeURI(path)}`).replace(/\/$/, '')
      t.ok(paths.has(target), `${file}: ${link}`)
      if (anchor !== undefined && paths.has(target))
        t.ok(anchorsOf(read(target)).has(anchor), `${file}: ${link}`)
    }
  }
})

t.test('every file and every script that a document names exists', async (t) => {
  const { scripts } = JSON.parse(read('package.json'))
  for (const file of DOCUMENTS) {
    const named = proseOf(read(file)).matchAll(
      /`((?:src|test|docs|scripts|compose|k8s|\.ci|\.github)\/[\w./*-]*)`/g,
    )
    for (const [, path = ''] of named) {
      const isCapital = /[A-Z]{4,}/.test(path.replace('README', ''))
      if (!isCapital) t.not(globSync(path).length, 0, `${file}: ${path}`)
    }
    for (const [, script = ''] of read(file).matchAll(/npm run (?:--silent )?([\w:-]+)/g))
      t.ok(script in scripts, `${file}: npm run ${script}`)
  }
})

t.test('every block of commands is run, but for these', async (t) => {
  const kinds: string[] = ['run', 'server', 'ci', 'cluster', 'example']
  for (const { file, line, kind } of commands) t.ok(kinds.includes(kind), `${file}:${line}: ${kind}`)
  const others = commands.filter(
    ({ file, kind }) => kind === 'example' || (kind === 'cluster' && file !== 'README.md'),
  )
  t.strictSame(
    others.map(({ file, text }) => `${file}: ${text.split('\n')[0]}`),
    NOT_RUN,
  )
})

t.test('.ci/run runs the tests by the commands of README.md', async (t) => {
  const script = read('.ci/run')
  for (const command of linesOf('README.md', 'ci')) {
    const words = command.split(' ').map((word) => word.replace(/[.*+?()[\]{}|\\^$]/g, '\\$&'))
    t.match(script, RegExp(`^[^#]*\\b${words.join('(?: --[\\w=-]+)* ')}\\b`, 'm'), command)
  }
})

t.test('docs/kubernetes.md, which is run on a cluster, has the commands of README.md', async (t) => {
  const run = commandsOf(ON_CLUSTER).flatMap(({ text }) => text.split('\n'))
  for (const command of linesOf('README.md', 'cluster')) {
    t.ok(
      run.some((line) => line.replace(/ +#.*/, '') === command),
      command,
    )
  }
})

t.test(
  'docs/performance.md, whose benchmarks take hours, names programs and options that exist',
  async (t) => {
    const { scripts } = JSON.parse(read('package.json'))
    const lines = commandsOf('docs/performance.md').flatMap(({ text }) =>
      text
        .replaceAll(/\\\n\s*/g, '')
        .trim()
        .split('\n'),
    )
    for (const line of lines) {
      const [, name] = /^npm run ([\w:-]+)/.exec(line) ?? []
      const command: string = name === undefined ? line : scripts[name]
      const [, program = ''] = / ((?:scripts|test)\/\S+\.ts)/.exec(command) ?? []
      if (!t.ok(paths.has(program), line)) continue
      const [, own = ''] = (name === undefined ? line.split(program) : line.split(' -- ')) as string[]
      const words = own.match(/(?<=^| )(?:--)?[a-z]+(?= |$)/g) ?? []
      for (const word of words.filter((word) => name === undefined || word.startsWith('--')))
        t.match(read(program), RegExp(`\\b${word.replace('--', '')}\\b[:(]`), `${line}: ${word}`)
    }
  },
)

t.test('prose is wrapped at 100 columns', async (t) => {
  for (const file of DOCUMENTS) {
    // What the benchmarks write, they do not wrap.
    const lines = proseOf(read(file))
      .replace(/<!-- (.*) -->[\s\S]*?<!-- \/\1 -->/g, '')
      .split('\n')
      .filter((line) => !/^\s*\||\]\(\S+\)$|^!\[/.test(line))
    t.strictSame(
      lines.filter((line) => line.length > 100),
      [],
      file,
    )
  }
})

t.test('the words of the spell checker are in order, each once', async (t) => {
  const words = read('scripts/words.txt').trim().split('\n')
  t.strictSame(words, [...new Set(words)].sort())
})

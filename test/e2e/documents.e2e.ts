/** Runs the commands of the documents as they are written, in a fresh clone, on free ports. */
import { randomUUID } from 'node:crypto'
import { cpSync, existsSync, globSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Block, commandsOf, DOCUMENTS } from '../documents.ts'
import { freePorts, guard, outputOf, run, start, stop, temporaryDirectory } from '../process.ts'
import { eventually } from './prometheus.ts'
import { requireTool } from './require-tool.ts'

requireTool('docker', 'compose', 'version')
requireTool('jq', '--version')

/** Images are built, and packages are fetched. */
const TIMEOUT_MS = 1_500_000
t.setTimeout(TIMEOUT_MS)

/** Commands of these documents are run elsewhere, or take hours. */
const LEFT_OUT = ['docs/kubernetes.md', 'docs/performance.md']

/** The ports that the documents name. Each has a free port in its place. */
const NAMED_PORTS = ['5000', '9090', '3000', '5001', '6390']
const free = await freePorts(NAMED_PORTS.length + 1)
const ports = new Map(NAMED_PORTS.map((name, i) => [name, `${free[i]}`]))
const api = ports.get('5000')
/** Where `npm start` listens while the stack has the port that it has by default. */
const ownPort = `${free.at(-1)}`

/** What npm needs to reach its registry from behind a proxy. */
const NETWORK = ['HTTPS_PROXY', 'https_proxy', 'NO_PROXY', 'no_proxy', 'NODE_EXTRA_CA_CERTS']

const { path: cwd } = temporaryDirectory('documents')
const env = {
  ...Object.fromEntries(NETWORK.map((name) => [name, process.env[name]]).filter(([, value]) => value)),
  COMPOSE_PROJECT_NAME: `documents-${randomUUID()}`,
  BASE_URL: `http://localhost:${api}`,
  PORT: ownPort,
  DURATION: '5',
}

/** A healthy service has no line that a runbook looks for: no match is no failure. */
const PREAMBLE = `
  set -eo pipefail
  grep() { command grep "$@" || [ $? -eq 1 ]; }
  export -f grep
`

/** What a reader puts in the place of a word in capitals. */
const PLACEHOLDERS: Record<string, string> = {
  ID: 'greeting',
  REQUEST_ID: 'none',
  REVISION: 'HEAD',
  TOKEN: 'none',
}

/** Inside a container the ports are those that the document names. */
const OUTSIDE = /^(?!.* exec ).*$/gm
const PORT = RegExp(`\\b(?:${NAMED_PORTS.join('|')})\\b`, 'g')

const fill = (text: string) =>
  text
    .replace(OUTSIDE, (line) => line.replace(PORT, (port) => ports.get(port) as string))
    .replace(/(?<![$\w])[A-Z_]+(?![\w=])/g, (word) => PLACEHOLDERS[word] ?? word)

const bash = (text: string) => ['bash', '-c', `${PREAMBLE}\n${fill(text)}`]

/** What is committed, and what is not yet. */
async function cloneInto(directory: string): Promise<void> {
  await outputOf(['git', 'clone', '--quiet', '.', directory])
  const changed = await outputOf(['git', 'ls-files', '-z', '--modified', '--others', '--exclude-standard'])
  for (const file of changed.split('\0').filter((name) => name !== ''))
    if (existsSync(file)) cpSync(file, join(directory, file))
    else rmSync(join(directory, file), { force: true })
}

const compose = (...args: string[]) => outputOf(['docker', 'compose', ...args], { cwd, env })

await cloneInto(cwd)
// Not in the environment, which would take precedence over what a document writes to .env.
for (const file of globSync(join(cwd, 'compose/*/compose.yaml'))) {
  const text = readFileSync(file, 'utf8')
  writeFileSync(
    file,
    text.replace(/(?<=_PORT:-)\d+/g, (port) => ports.get(port) as string),
  )
}
// The other tests have no Grafana either: no command asks for it.
writeFileSync(join(cwd, 'compose.override.yaml'), 'services: { grafana: { profiles: [none] } }\n')
const down = ['--profile', 'valkey', 'down', '--volumes', '--remove-orphans']
const release = guard('docker', 'compose', '--project-name', env.COMPOSE_PROJECT_NAME, ...down)
// docs/engines.md starts a Redis in the background.
const releaseRedis = guard('redis-cli', '-p', `${ports.get('6390')}`, 'shutdown', 'nosave')
t.teardown(async () => {
  await compose(...down)
  release()
  await run(['redis-cli', '-p', `${ports.get('6390')}`, 'shutdown', 'nosave'])
  releaseRedis()
})

/** Makes the stack what README.md starts, whatever a document has done to it. */
async function restore(): Promise<void> {
  rmSync(join(cwd, '.env'), { force: true })
  await compose('up', '--detach', '--wait')
}

async function isReady(port: string): Promise<boolean> {
  const response = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined)
  return response?.ok === true
}

/** Runs a block. Its server, if it is one, runs to the end of the document. */
async function check(t: Test, { kind, text, output }: Block, document: Test): Promise<void> {
  if (kind === 'server') {
    const port = /\bPORT=(\d+)/.exec(fill(text))?.[1] ?? ownPort
    const child = start(bash(text), { cwd, env, stdio: ['ignore', 'ignore', 'inherit'] })
    document.teardown(() => stop(child))
    const isOver = async () => child.exitCode !== null || (await isReady(port))
    t.ok((await eventually(isOver, Boolean, 540)) && child.exitCode === null, 'it listens')
    return
  }
  const { status, stdout, stderr } = await run(bash(text), { cwd, env })
  t.equal(status, 0, `${stdout}\n${stderr}`)
  if (output !== undefined) t.equal(stdout.trim(), fill(output).trim())
}

for (const file of DOCUMENTS.filter((name) => !LEFT_OUT.includes(name))) {
  const blocks = commandsOf(file).filter(({ kind }) => kind === 'run' || kind === 'server')
  if (blocks.length === 0) continue
  t.test(`${file}: its commands do what it says`, { timeout: TIMEOUT_MS }, async (t) => {
    if (file !== 'README.md') await restore()
    for (const block of blocks) {
      await t.test(`line ${block.line}`, { timeout: TIMEOUT_MS }, (line) => check(line, block, t))
      // A reader is no faster.
      await eventually(() => isReady(`${api}`), Boolean)
    }
  })
}

/**
 * Starts the programs that tests and benchmarks need. Their environment does not depend on the
 * user's settings. None of them outlives the process that has started it, however that process
 * ends.
 */
import { type ChildProcess, type StdioOptions, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import './parent.ts'

/** The variables that programs inherit: paths, and the Docker engine. */
const INHERITED = ['PATH', 'HOME', 'TMPDIR', 'XDG_RUNTIME_DIR']
const DOCKER = ['HOST', 'CONFIG', 'CONTEXT', 'CERT_PATH', 'TLS_VERIFY'].map((name) => `DOCKER_${name}`)

type Variables = Record<string, string>

export interface Options {
  /** Variables in addition to the inherited ones. */
  env?: Variables | undefined
  cwd?: string
}

export interface StartOptions extends Options {
  /** As for `spawn`. By default the standard output is a pipe, and standard error is inherited. */
  stdio?: StdioOptions
  /** Whether tap measures the coverage of the program. */
  isCovered?: boolean
}

export interface RunOptions extends Options {
  /** The standard input; empty by default. */
  input?: string
}

/** The status is 127 if the program is not installed, and null if a signal has ended it. */
export interface Result {
  status: number | null
  stdout: string
  stderr: string
}

function environment(env: Variables = {}): Variables {
  const inherited = [...INHERITED, ...DOCKER].flatMap((name) => {
    const value = process.env[name]
    return value === undefined ? [] : [[name, value]]
  })
  return { ...Object.fromEntries(inherited), ...env }
}

/** tap adds variables to every program that a test starts. `env -i` drops them. */
const bare = (args: string[], env?: Variables): [string, string[]] => [
  'env',
  ['-i', ...Object.entries(environment(env)).map(([name, value]) => `${name}=${value}`), ...args],
]

/**
 * `NUMBER COMMAND` adds a command, `NUMBER` drops it. At the end of the input they run, the last
 * first.
 */
const GUARD = `
  { number = $1 + 0; sub(/^[0-9]+ ?/, ""); commands[number] = $0; if (number > last) last = number }
  END { for (; last > 0; last--) if (commands[last] != "") system(commands[last]) }`
let guardInput: Writable | undefined
let guarded = 0

/**
 * Runs a command when this process has ended, even if SIGKILL has ended it. A process in another
 * session reads a pipe, which the kernel closes when this process ends. Commands run one after
 * another, the last first.
 *
 * @returns a function that drops the command.
 */
export function guard(...command: string[]): () => void {
  if (guardInput === undefined) {
    const [file, args] = bare(['awk', GUARD])
    const child = spawn(file, args, { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
    child.unref()
    guardInput = child.stdin
    ;(child.stdin as Writable & { unref(): void }).unref()
  }
  const number = ++guarded
  const quoted = command.map((argument) => `'${argument.replaceAll("'", "'\\''")}'`)
  guardInput.write(`${number} ${quoted.join(' ')}\n`)
  return () => void guardInput?.write(`${number}\n`)
}

/** Starts a program in a new process group. The group is killed when this process ends. */
export function start(
  args: string[],
  { env, cwd, stdio = ['ignore', 'pipe', 'inherit'], isCovered = false }: StartOptions = {},
): ChildProcess {
  // Node.js passes the channel of `ipc` in a variable.
  const isBare = !isCovered && !stdio.includes('ipc')
  const [file, rest] = isBare ? bare(args, env) : [args[0] as string, args.slice(1)]
  const child = spawn(file, rest, { env: environment(env), cwd, stdio, detached: true })
  if (child.pid !== undefined) child.once('exit', guard('kill', '-s', 'KILL', '--', `-${child.pid}`))
  return child
}

/** Kills a program and everything that it has started, and waits for its end. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  process.kill(-child.pid, 'SIGKILL')
  await exit
}

/** Runs a program to its end. */
export async function run(args: string[], { input = '', ...options }: RunOptions = {}): Promise<Result> {
  const child = start(args, { ...options, stdio: 'pipe' })
  // A program may end without reading its input.
  child.stdin?.on('error', () => {}).end(input)
  const [[status], stdout, stderr] = await Promise.all([
    once(child, 'close'),
    text(child.stdout as Readable),
    text(child.stderr as Readable),
  ])
  return { status, stdout, stderr }
}

/**
 * Runs a program to its end, and returns what it prints.
 *
 * @throws {Error} with the program's standard error if it fails.
 */
export async function outputOf(args: string[], options?: RunOptions): Promise<string> {
  const { status, stdout, stderr } = await run(args, options)
  if (status !== 0) throw new Error(`${args.join(' ')}: status ${status}: ${stderr}`)
  return stdout
}

/** Runs a short program to its end. This process is blocked until then. */
export function runSync(...args: string[]): Result {
  return spawnSync(...bare(args), { encoding: 'utf8' })
}

/** Whether a program is installed. */
export const hasProgram = (name: string) => runSync('sh', '-c', 'command -v "$0"', name).status === 0

/** The reason to skip tests that need a program. In CI they run and fail instead. */
export const lacking = (program: string) =>
  process.env.CI === undefined && !hasProgram(program) ? `no ${program}` : false

/** A temporary folder. It is removed when this process ends, if not before. */
export interface Directory {
  readonly path: string
  remove(): void
}

export function temporaryDirectory(name: string, parent = tmpdir()): Directory {
  const path = mkdtempSync(join(parent, `${name}-`))
  const release = guard('rm', '-rf', path)
  return {
    path,
    remove() {
      rmSync(path, { recursive: true, force: true })
      release()
    },
  }
}

/** Ports of the loopback interface that nobody listens on. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => once(server.close(), 'close')))
  return ports
}

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { type Directory, freePorts, stop } from '../../test/process.ts'
import type { Contender } from './contenders.ts'
import type { Load, Task } from './load.ts'
import { cpuMicroseconds, isPinned, listening, start } from './process.ts'
import type { WorkloadName } from './workloads.ts'

/** What one contender did in one round. */
export interface Round extends Load {
  /** The server's processor time for one request, in microseconds. */
  readonly cpuMicroseconds: number
}

/** So long V8 has compiled the service's code anew, and a request has cost half as much again. */
export const WARM_UP_SECONDS = 5

export interface CompareOptions {
  readonly contenders: Record<string, Contender>
  readonly workloads: readonly WorkloadName[]
  /**
   * How many processes of each contender are measured for a workload, one after another: of one program some are faster than
   * others for as long as they live, by up to 30 %.
   */
  readonly processes: number
  /** How many rounds of each of them count. */
  readonly rounds: number
  /** How long a contender is loaded in each of them. */
  readonly seconds: number
}

/** The rounds of each contender, in their order: of two contenders the same round was run in the same seconds. */
export type Comparison = Record<string, Round[]>

interface Running {
  readonly name: string
  readonly contender: Contender
  readonly port: number
  readonly child: ChildProcess
  readonly directory: Directory | undefined
}

/** Starts a contender; undefined where the machine does not have it. */
export async function run(name: string, contender: Contender): Promise<Running | undefined> {
  const [port = 0] = await freePorts(1)
  const command = contender.command(port)
  if (command === undefined) return undefined
  const child = start(command, 'measured')
  child.stdout?.resume()
  await listening(port, child)
  return { name, contender, port, child, directory: command.directory }
}

let client: ChildProcess | undefined

/** Starts the process that loads, which ends with this one. */
function startClient(): ChildProcess {
  const child = start({ args: ['node', join(import.meta.dirname, 'load.ts')], ipc: true }, 'load')
  child.stdout?.destroy()
  child.once('exit', (code) => {
    throw new Error(`load.ts: exit code ${code}`)
  })
  child.unref()
  child.channel?.unref()
  return child
}

/** Loads a server for so many seconds, or stores the workload's objects there, or deletes them. */
export async function load(
  { contender, port }: Pick<Running, 'contender' | 'port'>,
  workload: WorkloadName,
  mode: Task['mode'],
): Promise<Load> {
  client ??= startClient()
  client.send({
    port,
    paths: contender.paths ?? 'buckets',
    workload,
    mode,
    isSleepless: isPinned,
  } satisfies Task)
  const [answer] = await once(client, 'message')
  return answer
}

async function runRound(running: Running, workload: WorkloadName, seconds: number): Promise<Round> {
  const pid = running.child.pid as number
  const before = cpuMicroseconds(pid)
  const loaded = await load(running, workload, seconds)
  return { ...loaded, cpuMicroseconds: (cpuMicroseconds(pid) - before) / loaded.requests }
}

/** Adds the rounds of one process of each contender that the machine has and that can do the workload. */
async function addRounds(comparison: Comparison, workload: WorkloadName, options: CompareOptions) {
  const all: Running[] = []
  try {
    for (const [name, contender] of Object.entries(options.contenders)) {
      if (contender.without?.includes(workload)) continue
      const running = await run(name, contender)
      if (running === undefined) continue
      all.push(running)
      await load(running, workload, 'fill')
      await load(running, workload, WARM_UP_SECONDS)
    }
    for (let round = 0; round < options.rounds; round++) {
      for (const running of all) {
        comparison[running.name] ??= []
        comparison[running.name]?.push(await runRound(running, workload, options.seconds))
      }
    }
  } finally {
    await Promise.all(all.map(({ child }) => stop(child)))
    for (const { directory } of all) directory?.remove()
  }
}

/**
 * Compares contenders, each a process of its own: they take turns, so that what the machine does meanwhile is the same for
 * all of them. Those that the machine does not have are left out.
 */
export async function* compare(options: CompareOptions): AsyncGenerator<[WorkloadName, Comparison]> {
  for (const workload of options.workloads) {
    const comparison: Comparison = {}
    for (let i = 0; i < options.processes; i++) await addRounds(comparison, workload, options)
    yield [workload, comparison]
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  return ((sorted[Math.floor(middle)] as number) + (sorted[Math.ceil(middle)] as number)) / 2
}

/** How one contender's figure stands to another's, round by round: the median of the ratios. */
export function ratio(rounds: Round[], to: Round[], figure: 'requestsPerSecond' | 'cpuMicroseconds'): number {
  return median(rounds.map((round, i) => round[figure] / (to[i] as Round)[figure]))
}

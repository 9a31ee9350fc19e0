import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { type Directory, freePorts, stop } from '../../test/process.ts'
import type { Contender } from './contenders.ts'
import type { Load, Task } from './load.ts'
import {
  cpuMicroseconds,
  isPinned,
  listening,
  machineMicroseconds,
  ownMicroseconds,
  start,
} from './process.ts'
import { WORKLOADS, type Workload, type WorkloadName } from './workloads.ts'

/** What one contender did in one round. */
export interface Round extends Load {
  /** The server's processor time for one request, in microseconds. */
  readonly cpuMicroseconds: number
}

/**
 * How long a process is loaded before it is measured. V8 compiles the service's code meanwhile, and a request costs half as
 * much again.
 */
export const WARM_UP_SECONDS = 5

/** The same where the process has been warmed up with another workload of the same kind: with PUT, or without. */
const NEXT_WARM_UP_SECONDS = 0.5

export interface CompareOptions {
  readonly contenders: Record<string, Contender>
  readonly workloads: readonly WorkloadName[]
  /**
   * How many processes of each contender are measured, one after another. Two processes of the same program can differ by up
   * to 30 % for their whole life.
   */
  readonly processes: number
  /** How many rounds of each workload are measured in each process. */
  readonly rounds: number
  /** How long a contender is loaded in a round. */
  readonly seconds: number
}

export interface Comparison {
  /** The rounds of each contender, in their order: the same round of two contenders was run in the same seconds. */
  readonly rounds: Record<string, Round[]>
  /** The processor time that other programs used meanwhile, in cores. */
  othersCores: number
}

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
  const command = await contender.command(port)
  if (command === undefined) return undefined
  const child = start(command, 'measured')
  child.stdout?.resume()
  await listening(port, child)
  return { name, contender, port, child, directory: command.directory }
}

let client: ChildProcess | undefined

/** Starts the process that loads, which ends with this one. */
function startClient(): ChildProcess {
  // It gives way to all others.
  const args = ['nice', '-n', '19', 'node', join(import.meta.dirname, 'load.ts')]
  const child = start({ args, ipc: true }, 'load')
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

const canDo = ({ without = [] }: Contender, workload: WorkloadName) => !without.includes(workload)

/** Measures processes that have been started, one round of each after another. */
async function addRounds(
  comparison: Comparison,
  all: Running[],
  workload: WorkloadName,
  { rounds, seconds, processes }: CompareOptions,
): Promise<void> {
  const begun = { ms: performance.now(), machine: machineMicroseconds(), own: ownMicroseconds() }
  for (let round = 0; round < rounds; round++) {
    for (const running of all) {
      comparison.rounds[running.name] ??= []
      comparison.rounds[running.name]?.push(await runRound(running, workload, seconds))
    }
  }
  const others = machineMicroseconds() - begun.machine - (ownMicroseconds() - begun.own)
  comparison.othersCores += Math.max(0, others) / 1000 / (performance.now() - begun.ms) / processes
}

/**
 * Compares contenders, each a process: they take turns, so that all of them have the same machine. A process is measured with
 * all workloads, one after another. Contenders that the machine does not have are left out.
 */
export async function compare(options: CompareOptions): Promise<Map<WorkloadName, Comparison>> {
  const comparisons = new Map<WorkloadName, Comparison>(
    options.workloads.map((workload) => [workload, { rounds: {}, othersCores: 0 }]),
  )
  for (let i = 1; i <= options.processes; i++) {
    const all: Running[] = []
    const warm = new Set<string>()
    try {
      for (const [name, contender] of Object.entries(options.contenders)) {
        const running = await run(name, contender)
        if (running !== undefined) all.push(running)
      }
      for (const [workload, comparison] of comparisons) {
        console.error(`processes ${i} of ${options.processes}: ${workload}`)
        const able = all.filter(({ contender }) => canDo(contender, workload))
        for (const running of able) {
          await load(running, workload, 'fill')
          const code = `${running.name}, ${(WORKLOADS[workload] as Workload).put ? 'PUT' : 'GET'}`
          await load(running, workload, warm.has(code) ? NEXT_WARM_UP_SECONDS : WARM_UP_SECONDS)
          warm.add(code)
        }
        await addRounds(comparison, able, workload, options)
      }
    } finally {
      await Promise.all(all.map(({ child }) => stop(child)))
      for (const { directory } of all) directory?.remove()
    }
  }
  return comparisons
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  return ((sorted[Math.floor(middle)] as number) + (sorted[Math.ceil(middle)] as number)) / 2
}

export type Figure = 'requestsPerSecond' | 'cpuMicroseconds'

/** One contender's figure by another's, round by round: the median of the ratios. */
export function ratio(rounds: Round[], to: Round[], figure: Figure): number {
  return median(rounds.map((round, i) => round[figure] / (to[i] as Round)[figure]))
}

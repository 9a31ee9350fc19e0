/** Processes that are measured. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Directory, hasProgram, start as startProgram } from '../../test/process.ts'

/** Where there are two cores and `taskset`, the measured have one of them and the load the other. */
export const isPinned = availableParallelism() > 1 && hasProgram('taskset')

const CORES = { measured: '0', load: '1' }

/** What is started, and its variables. */
export interface Command {
  readonly args: string[]
  readonly env?: Record<string, string>
  /** Whether it is a Node.js that listens to its parent. */
  readonly ipc?: boolean
  /** Whether it may use any core, although it is measured. */
  readonly isFree?: boolean
  /** What it needs and nobody else, to be removed after it. */
  readonly directory?: Directory
}

/** The processes that have been started and have not ended. */
const running = new Set<number>()

/** Starts a command on its core. Read its standard output, or destroy it. */
export function start({ args, env, ipc = false, isFree }: Command, core: keyof typeof CORES): ChildProcess {
  const command = [...(isPinned && !isFree ? ['taskset', '--cpu-list', CORES[core]] : []), ...args]
  const child = startProgram(command, {
    env,
    stdio: ['ignore', 'pipe', 'inherit', ...(ipc ? (['ipc'] as const) : [])],
  })
  const { pid } = child
  if (pid !== undefined) {
    running.add(pid)
    child.once('exit', () => running.delete(pid))
  }
  return child
}

/** Waits until a process listens on a port. */
export async function listening(port: number, child: ChildProcess): Promise<void> {
  while (true) {
    const socket = connect(port, '127.0.0.1')
    const isThere = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (isThere) return
    if (child.exitCode !== null) throw new Error(`${child.spawnargs.join(' ')}: exit code ${child.exitCode}`)
    await sleep(20)
  }
}

/** The processor time that a process has had, all its threads, in microseconds. Linux has it. */
export function cpuMicroseconds(pid: number): number {
  const tasks = `/proc/${pid}/task`
  const nanoseconds = readdirSync(tasks).map((task) =>
    Number(readFileSync(`${tasks}/${task}/schedstat`, 'latin1').split(' ')[0]),
  )
  return nanoseconds.reduce((a, b) => a + b, 0) / 1000
}

/** The resident memory of a process, in bytes, without asking it. Linux has it. */
export function residentBytes(pid: number): number {
  return 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1])
}

/** Linux counts the time of a processor in hundredths of a second, whatever the machine (`USER_HZ`). */
const TICK_MICROSECONDS = 10_000

/** The processor time that the whole machine has spent, and its host on others instead (steal), in microseconds. */
export function machineMicroseconds(stat = readFileSync('/proc/stat', 'latin1')): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] =
    /^cpu +(.*)/.exec(stat)?.[1]?.split(' ').map(Number) ?? []
  return (user + nice + system + irq + softirq + steal) * TICK_MICROSECONDS
}

/** The processor time that this process and those that it has started have had, in microseconds. */
export function ownMicroseconds(): number {
  const { user, system } = process.cpuUsage()
  return [...running].reduce((sum, pid) => sum + cpuMicroseconds(pid), user + system)
}

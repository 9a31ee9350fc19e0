/** The measured processes. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Directory, hasProgram, start as startProgram } from '../../test/process.ts'

/** With two cores and `taskset`, the measured processes have one core and the load the other. */
export const isPinned = availableParallelism() > 1 && hasProgram('taskset')

const CORES = { measured: '0', load: '1' }

/** A command and its environment variables. */
export interface Command {
  readonly args: string[]
  readonly env?: Record<string, string>
  /** Whether it is a Node.js process that gets messages from its parent. */
  readonly ipc?: boolean
  /** Whether it may use every core although it is measured. */
  readonly isFree?: boolean
  /** The folder that only this process needs. It is removed after the process has ended. */
  readonly directory?: Directory
}

/** The running processes. */
const running = new Set<number>()

/** Starts a command on its core. The caller must read or destroy its standard output. */
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

/** The processor time of a process with all its threads, in microseconds. Only on Linux. */
export function cpuMicroseconds(pid: number): number {
  const tasks = `/proc/${pid}/task`
  const nanoseconds = readdirSync(tasks).map((task) =>
    Number(readFileSync(`${tasks}/${task}/schedstat`, 'latin1').split(' ')[0]),
  )
  return nanoseconds.reduce((a, b) => a + b, 0) / 1000
}

/** The resident memory of a process, in bytes, without asking the process. Only on Linux. */
export function residentBytes(pid: number): number {
  return 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1])
}

/** Linux counts processor time in hundredths of a second on every machine (`USER_HZ`). */
const TICK_MICROSECONDS = 10_000

/**
 * The processor time of the whole machine, and the time that its host gave to others (steal), in
 * microseconds.
 */
export function machineMicroseconds(stat = readFileSync('/proc/stat', 'latin1')): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] =
    /^cpu +(.*)/.exec(stat)?.[1]?.split(' ').map(Number) ?? []
  return (user + nice + system + irq + softirq + steal) * TICK_MICROSECONDS
}

/** The processor time of this process and of those that it has started, in microseconds. */
export function ownMicroseconds(): number {
  const { user, system } = process.cpuUsage()
  return [...running].reduce((sum, pid) => sum + cpuMicroseconds(pid), user + system)
}

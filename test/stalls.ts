/**
 * In a thread of its own: adds up for how long the machine has let this process and those that it has started wait for a core, or
 * has stood still as a whole.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { isMainThread, workerData } from 'node:worker_threads'

export const TICK_MS = 10
/** For so many ticks there is room: an hour. */
export const TICKS = 360_000

/** How many turns pass until it is looked for new processes. */
const TURNS_A_LOOK = 20

/** What the threads share. */
export interface Watch {
  /** For how long processes had waited at each tick since the start, in milliseconds; not a number before its tick. */
  readonly stalledMs: Float64Array
  readonly startedMs: number
}

/** The time, in milliseconds since the machine has started: the same for all threads, and no test stops it. */
export const nowMs = () => Number(process.hrtime.bigint()) / 1e6

/** What a file of Linux says of a process; undefined elsewhere, and where the process has ended. */
function read(pid: string, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1')
  } catch {
    return undefined
  }
}

/** This process, and those that it has started. */
function family(): string[] {
  const own = `${process.pid}`
  const parentOf = (pid: string) => read(pid, 'stat')?.split(') ').at(-1)?.split(' ')[1]
  const pids = existsSync('/proc') ? readdirSync('/proc').filter((name) => /^\d+$/.test(name)) : []
  return [own, ...pids.filter((pid) => parentOf(pid) === own)]
}

/** For how long the main thread of a process has waited for a core since it began, in milliseconds. */
const waitedMs = (pid: string) => Number(read(pid, 'schedstat')?.split(' ')[1] ?? 0) / 1e6

function run({ stalledMs, startedMs }: Watch): void {
  const pause = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
  const waited = new Map<string, number>()
  let wokenMs = nowMs()
  let total = 0
  for (let turn = 0, tick = 0; tick < TICKS; turn++) {
    if (turn % TURNS_A_LOOK === 0)
      for (const pid of family()) if (!waited.has(pid)) waited.set(pid, waitedMs(pid))
    Atomics.wait(pause, 0, 0, TICK_MS)
    const lateMs = nowMs() - wokenMs - 2 * TICK_MS
    wokenMs = nowMs()
    let waitingMs = 0
    for (const [pid, before] of waited) {
      const now = waitedMs(pid)
      waitingMs += Math.max(0, now - before)
      waited.set(pid, now)
    }
    total += Math.max(0, lateMs, waitingMs)
    for (const end = (wokenMs - startedMs) / TICK_MS; tick < end; tick++) stalledMs[tick] = total
  }
}

if (!isMainThread && workerData?.stalledMs instanceof Float64Array) run(workerData)

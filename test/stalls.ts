/**
 * Runs in a separate thread. Adds up how long this process and its children waited for a core, and
 * how long the whole machine stood still.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { isMainThread, workerData } from 'node:worker_threads'

export const TICK_MS = 10
/** The size of the record, in ticks: an hour. */
export const TICKS = 360_000

/** The number of turns between two searches for new children. */
const TURNS_A_LOOK = 20

/** The data that the threads share. */
export interface Watch {
  /** The total waiting time at each tick, in milliseconds. NaN before the tick. */
  readonly stalledMs: Float64Array
  readonly startedMs: number
}

/** Milliseconds on a clock that all threads share and that no test stops. */
export const nowMs = () => Number(process.hrtime.bigint()) / 1e6

/** Reads a file of /proc. Undefined on other systems, and when the process has ended. */
function read(pid: string, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1')
  } catch {
    return undefined
  }
}

/** The ids of this process and of its children. */
function family(): string[] {
  const own = `${process.pid}`
  const parentOf = (pid: string) => read(pid, 'stat')?.split(') ').at(-1)?.split(' ')[1]
  const pids = existsSync('/proc') ? readdirSync('/proc').filter((name) => /^\d+$/.test(name)) : []
  return [own, ...pids.filter((pid) => parentOf(pid) === own)]
}

/** How long the main thread of a process has waited for a core since it began, in milliseconds. */
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

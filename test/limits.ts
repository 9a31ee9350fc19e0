/**
 * Limits of time. `npm test` does not hold them, because a busy machine makes everything late.
 * test/e2e/limits.e2e.ts runs the same tests and holds them. It subtracts the time for which the
 * machine let the processes wait.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import type { Test } from 'tap'
import { nowMs, TICK_MS, TICKS, type Watch } from './stalls.ts'

let watch: Watch | undefined

/** From now on a test that exceeds a limit fails. */
export function holdLimits(): void {
  const buffer = new SharedArrayBuffer(TICKS * Float64Array.BYTES_PER_ELEMENT)
  watch = { stalledMs: new Float64Array(buffer).fill(Number.NaN), startedMs: nowMs() }
  new Worker(new URL('stalls.ts', import.meta.url), { workerData: watch }).unref()
}

/** How long the processes had to wait between two times, in milliseconds. */
async function stalledBetween({ stalledMs, startedMs }: Watch, begunMs: number, endedMs: number) {
  const tick = (ms: number) => Math.floor((ms - startedMs) / TICK_MS)
  const last = tick(endedMs) + 1
  // The watching thread can be late itself.
  while (Number.isNaN(stalledMs[last])) await sleep(TICK_MS)
  return (stalledMs[last] as number) - (stalledMs[tick(begunMs)] as number)
}

/** Measures many operations that have one limit. */
export interface Timed {
  time<T>(act: () => Promise<T>): Promise<T>
  /** Fails the test if an operation took too long. */
  judge(): Promise<void>
}

/** Each operation may take `limitMs` milliseconds. A share of them may be late. */
export function limit(t: Pick<Test, 'ok' | 'comment'>, limitMs: number, what: string, lateShare = 0): Timed {
  const late: [begunMs: number, endedMs: number][] = []
  let count = 0
  let longestMs = 0
  return {
    async time(act) {
      const begunMs = nowMs()
      const result = await act()
      const endedMs = nowMs()
      count++
      longestMs = Math.max(longestMs, endedMs - begunMs)
      if (endedMs - begunMs >= limitMs) late.push([begunMs, endedMs])
      return result
    },
    async judge() {
      if (watch === undefined) return
      t.comment(`${what}: ${Math.round(longestMs)} ms at most, the limit is ${limitMs}`)
      const tooLate: string[] = []
      for (const [begunMs, endedMs] of late) {
        const stalledMs = await stalledBetween(watch, begunMs, endedMs)
        const ownMs = endedMs - begunMs - stalledMs
        if (ownMs >= limitMs) tooLate.push(`${ownMs} ms, without ${stalledMs} ms of waiting for the machine`)
      }
      t.ok(
        tooLate.length <= lateShare * count,
        [`${what}: ${tooLate.length} of ${count} late`, ...tooLate.slice(0, 1)].join(', '),
      )
    },
  }
}

/** Measures one operation, which may take `limitMs` milliseconds. */
export async function within<T>(
  t: Pick<Test, 'ok' | 'comment'>,
  limitMs: number,
  what: string,
  act: () => Promise<T>,
): Promise<T> {
  const timed = limit(t, limitMs, what)
  const result = await timed.time(act)
  await timed.judge()
  return result
}

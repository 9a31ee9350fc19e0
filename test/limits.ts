/**
 * Limits of time. `npm test` holds none of them, because a busy machine makes everything late. test/e2e/limits.e2e.ts runs the same
 * tests and holds them, less the time for which the machine let the processes wait.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import type { Test } from 'tap'
import { nowMs, TICK_MS, TICKS, type Watch } from './stalls.ts'

let watch: Watch | undefined

/** Has limits held from now on. */
export function holdLimits(): void {
  const buffer = new SharedArrayBuffer(TICKS * Float64Array.BYTES_PER_ELEMENT)
  watch = { stalledMs: new Float64Array(buffer).fill(Number.NaN), startedMs: nowMs() }
  new Worker(new URL('stalls.ts', import.meta.url), { workerData: watch }).unref()
}

/** For how long processes had to wait from one time to another, in milliseconds. */
async function stalledBetween({ stalledMs, startedMs }: Watch, begunMs: number, endedMs: number) {
  const tick = (ms: number) => Math.floor((ms - startedMs) / TICK_MS)
  const last = tick(endedMs) + 1
  // The watch may be late itself.
  while (Number.isNaN(stalledMs[last])) await sleep(TICK_MS)
  return (stalledMs[last] as number) - (stalledMs[tick(begunMs)] as number)
}

/** The time that each of many acts takes. */
export interface Timed {
  time<T>(act: () => Promise<T>): Promise<T>
  /** Fails the test where an act took too long. */
  judge(): Promise<void>
}

/** Times acts of which each may take so many milliseconds at most. */
export function limit(t: Pick<Test, 'ok' | 'comment'>, limitMs: number, what: string): Timed {
  const late: [begunMs: number, endedMs: number][] = []
  let longestMs = 0
  return {
    async time(act) {
      const begunMs = nowMs()
      const result = await act()
      const endedMs = nowMs()
      longestMs = Math.max(longestMs, endedMs - begunMs)
      if (endedMs - begunMs >= limitMs) late.push([begunMs, endedMs])
      return result
    },
    async judge() {
      if (watch === undefined) return
      t.comment(`${what}: ${Math.round(longestMs)} ms at most, the limit is ${limitMs}`)
      for (const [begunMs, endedMs] of late) {
        const stalledMs = await stalledBetween(watch, begunMs, endedMs)
        const ownMs = endedMs - begunMs - stalledMs
        t.ok(ownMs < limitMs, `${what}: ${ownMs} ms, and ${stalledMs} ms for which the machine let it wait`)
      }
    },
  }
}

/** Times one act, which may take so many milliseconds. */
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

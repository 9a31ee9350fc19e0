import { type ELDHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import { Gauge, type Registry } from '@prometheus-io/client'

/**
 * The period of the timer that measures, in milliseconds. It counts as delay, so this is the delay
 * of an idle event loop.
 */
const RESOLUTION_MS = 10

/** The gauges. Each reads nanoseconds. */
const FIGURES: [name: string, help: string, read: (delays: ELDHistogram) => number][] = [
  ['min', 'The minimum recorded event loop delay.', ({ min }) => min],
  ['max', 'The maximum recorded event loop delay.', ({ max }) => max],
  ['mean', 'The mean of the recorded event loop delays.', ({ mean }) => mean],
  ['p50', 'The 50th percentile of the recorded event loop delays.', (delays) => delays.percentile(50)],
  ['p90', 'The 90th percentile of the recorded event loop delays.', (delays) => delays.percentile(90)],
  ['p99', 'The 99th percentile of the recorded event loop delays.', (delays) => delays.percentile(99)],
]

/** Starts to record the delays of the event loop, in nanoseconds. */
export function recordEventLoopDelays(): ELDHistogram {
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  delays.enable()
  return delays
}

/**
 * Registers `nodejs_eventloop_lag_*_seconds`: the delays since the last scrape, under the names of
 * the client library. The library's standard deviation is left out, because it takes 0.5 ms of the
 * event loop, as much as the rest of a scrape.
 */
export function registerEventLoopLag(registry: Registry, delays: ELDHistogram): void {
  let last = FIGURES.map(() => 0)
  for (const [i, [name, help]] of FIGURES.entries()) {
    new Gauge({
      name: `nodejs_eventloop_lag_${name}_seconds`,
      help,
      registers: [registry],
      collect() {
        // The first gauge of a scrape reads the values of all gauges. They keep their values if
        // nothing was recorded.
        if (i === 0 && delays.count > 0) {
          last = FIGURES.map(([, , read]) => read(delays) / 1e9)
          delays.reset()
        }
        this.set(last[i] as number)
      },
    })
  }
}

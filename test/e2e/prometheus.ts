import { setTimeout as sleep } from 'node:timers/promises'

/** One series of an instant query's result. */
export interface Sample {
  metric: Record<string, string>
  value: [seconds: number, value: string]
}

/** The exemplars of one series. */
export interface SeriesExemplars {
  seriesLabels: Record<string, string>
  exemplars: { labels: Record<string, string>; value: string; timestamp: number }[]
}

/** Sends a query to an endpoint of a Prometheus. */
async function ask<T>(prometheus: string, path: string, promql: string, more = {}): Promise<T> {
  const response = await fetch(`${prometheus}/api/v1/${path}`, {
    method: 'POST',
    body: new URLSearchParams({ query: promql, ...more }),
  })
  const { status, data, error } = (await response.json()) as { status: string; data: T; error: string }
  if (status !== 'success') throw new Error(`${promql}: ${error}`)
  return data
}

/** Sends an instant query to a Prometheus. */
export async function query(prometheus: string, promql: string): Promise<Sample[]> {
  return (await ask<{ result: Sample[] }>(prometheus, 'query', promql)).result
}

/** Asks a Prometheus for the exemplars of the last hour. */
export async function queryExemplars(prometheus: string, promql: string): Promise<SeriesExemplars[]> {
  const now = Date.now() / 1000
  return ask(prometheus, 'query_exemplars', promql, { start: `${now - 3600}`, end: `${now}` })
}

/**
 * Asks every second until the result passes, for at most half a minute, because Prometheus scrapes
 * every 5 seconds.
 */
export async function eventually<T>(
  ask: () => Promise<T>,
  enough: (answer: T) => boolean,
  seconds = 30,
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    const answer = await ask()
    if (enough(answer) || attempt === seconds) return answer
    await sleep(1000)
  }
}

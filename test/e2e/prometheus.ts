import { setTimeout as sleep } from 'node:timers/promises'

/** One series of an instant query's result. */
export interface Sample {
  metric: Record<string, string>
  value: [seconds: number, value: string]
}

/** Asks a Prometheus an instant query. */
export async function query(prometheus: string, promql: string): Promise<Sample[]> {
  const response = await fetch(`${prometheus}/api/v1/query`, {
    method: 'POST',
    body: new URLSearchParams({ query: promql }),
  })
  const { status, data, error } = (await response.json()) as {
    status: string
    data: { result: Sample[] }
    error: string
  }
  if (status !== 'success') throw new Error(`${promql}: ${error}`)
  return data.result
}

/** Asks again each second until the answer will do, for half a minute: Prometheus scrapes every 5 seconds. */
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

/** How often it is looked for what has taken too long, in milliseconds. */
const INTERVAL_MS = 50

/** What was asked for has not come in time. */
export class TimeLimitError extends Error {
  override name = 'TimeLimitError'
}

interface Waiting {
  readonly deadline: number
  readonly reject: (error: Error) => void
}

/** Time limits of many promises by one timer: a timer for each would cost as much as what it watches. */
export class Deadlines {
  readonly #waiting = new Set<Waiting>()
  readonly #timer = setInterval(() => this.#expire(), INTERVAL_MS).unref()

  /** What a promise comes to, or a {@link TimeLimitError} after so many milliseconds. */
  limit<T>(promise: Promise<T>, milliseconds: number): Promise<T> {
    return new Promise((resolve, reject) => {
      const waiting = { deadline: performance.now() + milliseconds, reject }
      this.#waiting.add(waiting)
      const settled = () => this.#waiting.delete(waiting)
      promise.finally(settled).then(resolve, reject)
    })
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #expire(): void {
    const now = performance.now()
    for (const waiting of this.#waiting) {
      if (waiting.deadline > now) continue
      this.#waiting.delete(waiting)
      waiting.reject(new TimeLimitError('no answer in time'))
    }
  }
}

/** How often the deadlines are compared with the time, in milliseconds. */
const INTERVAL_MS = 50

/** The server has sent nothing for the time limit. */
export class TimeLimitError extends Error {
  override name = 'TimeLimitError'
}

/** When a connection last brought an answer, as `performance.now()` tells it. */
export interface Progress {
  heardAt: number
}

interface Waiting {
  readonly begunAt: number
  readonly milliseconds: number
  readonly progress: Progress | undefined
  readonly reject: (error: Error) => void
}

/** The time limits of many promises. They share one timer, because a timer each would cost as much as the commands. */
export class Deadlines {
  readonly #waiting = new Set<Waiting>()
  // The answers that have arrived are read first. Otherwise a pause of this process would look like a silent server.
  readonly #timer = setInterval(() => setImmediate(() => this.#expire()), INTERVAL_MS).unref()

  /**
   * Limits how long a promise may take. With `progress` the time begins anew whenever the connection brings an answer.
   *
   * @throws {TimeLimitError} after so many milliseconds.
   */
  limit<T>(promise: Promise<T>, milliseconds: number, progress?: Progress): Promise<T> {
    return new Promise((resolve, reject) => {
      const waiting = { begunAt: performance.now(), milliseconds, progress, reject }
      this.#waiting.add(waiting)
      promise.then(
        (value) => {
          this.#waiting.delete(waiting)
          if (progress !== undefined) progress.heardAt = performance.now()
          resolve(value)
        },
        (error) => {
          this.#waiting.delete(waiting)
          reject(error)
        },
      )
    })
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #expire(): void {
    const now = performance.now()
    for (const waiting of this.#waiting) {
      const { begunAt, milliseconds, progress, reject } = waiting
      if (Math.max(begunAt, progress?.heardAt ?? 0) + milliseconds > now) continue
      this.#waiting.delete(waiting)
      reject(new TimeLimitError('no answer in time'))
    }
  }
}

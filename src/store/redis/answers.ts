/** The server has sent nothing for the time limit. */
export class TimeLimitError extends Error {
  override name = 'TimeLimitError'
}

/** The answers of one server over one connection. */
export class Answers {
  /** When the last answer arrived, in milliseconds of `performance.now()`. */
  heardAt = 0

  /**
   * Limits how long an answer may take. The time starts again whenever another answer arrives.
   *
   * @throws {TimeLimitError} after `limitMs` milliseconds without any answer.
   */
  within<T>(limitMs: number, answer: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const sentAt = performance.now()
      let timer: NodeJS.Timeout | undefined
      const wait = (ms: number) => {
        // Answers that have arrived are read first. Otherwise a pause of this process looks like a
        // silent server.
        timer = setTimeout(() => setImmediate(expire), ms).unref()
      }
      const expire = () => {
        if (timer === undefined) return
        const leftMs = Math.max(sentAt, this.heardAt) + limitMs - performance.now()
        if (leftMs > 0) wait(leftMs)
        else reject(new TimeLimitError('no answer in time'))
      }
      const settle = () => {
        clearTimeout(timer)
        timer = undefined
      }
      wait(limitMs)
      answer.then(
        (value) => {
          settle()
          this.heardAt = performance.now()
          resolve(value)
        },
        (error) => {
          settle()
          reject(error)
        },
      )
    })
  }
}

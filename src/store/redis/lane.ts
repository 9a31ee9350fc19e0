import { Answers } from './answers.ts'
import {
  type Arguments,
  type Connection,
  type ConnectionOptions,
  connect,
  errorCode,
  type Primary,
} from './connection.ts'

/** How long a connection may bring no answer while a command waits, in milliseconds. */
export const LIMIT_MS = 800

/** The same for a check. */
export const CHECK_LIMIT_MS = 1000

/** The traffic of one lane with one server. */
class Traffic extends Answers {
  /** The bytes of transfers that are not settled. */
  bytes = 0
  /** How many checks in a row were late. */
  lateChecks = 0
}

/**
 * One connection to the server, or to each server of a cluster, with the time limit for its
 * commands.
 */
export class Lane {
  readonly connection: Connection
  #traffic = new Map<string, Traffic>()

  constructor(options: ConnectionOptions) {
    this.connection = connect(options)
  }

  trafficOf(address: string): Traffic {
    let traffic = this.#traffic.get(address)
    if (traffic === undefined) {
      traffic = new Traffic()
      this.#traffic.set(address, traffic)
    }
    return traffic
  }

  send(key: string, args: Arguments, asBuffers: boolean, onSettled?: () => void): Promise<unknown> {
    const sent = this.connection.send(key, args, asBuffers)
    if (onSettled !== undefined) sent.then(onSettled, onSettled)
    return this.trafficOf(this.connection.addressOf(key)).within(LIMIT_MS, sent)
  }

  primaries(): Primary[] {
    return this.connection.primaries().map(({ address, send }) => ({
      address,
      send: (args) => this.trafficOf(address).within(LIMIT_MS, send(args)),
    }))
  }

  /**
   * Looks a key up on each primary. Returns the address of each primary, with its error if there is
   * one.
   */
  async check(key: string): Promise<[address: string, error: Error | undefined][]> {
    const primaries = this.connection.primaries()
    const checks = primaries.map(async ({ address, send }): Promise<[string, Error | undefined]> => {
      const traffic = this.trafficOf(address)
      try {
        await traffic.within(CHECK_LIMIT_MS, send(['EXISTS', key]))
        traffic.lateChecks = 0
      } catch (error) {
        // A primary that redirects to another server works.
        if (errorCode(error) !== 'MOVED') return [address, error as Error]
      }
      return [address, undefined]
    })
    return Promise.all(checks)
  }

  renew(silent?: string[]): void {
    this.#traffic = new Map()
    this.connection.renew(silent)
  }
}

import { text } from '../http/parameters.ts'

/** The address of a server. */
export interface Address {
  host: string
  port: number
}

/** An engine over a network, from `STORAGE_URL`. */
export interface RemoteEngine {
  /** The scheme of the URL. */
  engine: 'redis' | 'rediss' | 'redis+cluster' | 'rediss+cluster'
  isCluster: boolean
  isTls: boolean
  /** One server, or some servers of a cluster. They know the others. */
  addresses: Address[]
  username: string | undefined
  password: string | undefined
  /** The number of the database. It is 0 in a cluster. */
  database: number
  /** The certificates to trust instead of those of Node.js, in PEM. */
  ca: string | undefined
}

export type Engine = { engine: 'memory' } | RemoteEngine

const DEFAULT_PORT = 6379

const HOST = '(?:[\\w.-]+|\\[[\\da-fA-F:.]+\\])(?::\\d{1,5})?'
const USER = '(?:[^\\s:@/?#]*(?::[^\\s@/?#]*)?@)?'
const URL_PATTERN = RegExp(
  `^(?:memory:|rediss?://${USER}${HOST}(?:/\\d{0,3})?|rediss?\\+cluster://${USER}${HOST}(?:,${HOST})*/?)$`,
)

/** The setting, as text. A wrong value is never shown, because it may have a password. */
export const storageUrl = text(
  URL_PATTERN,
  'memory:, redis://[user[:password]@]host[:port][/database] or redis+cluster://[user[:password]@]host[:port],..., with rediss for TLS',
  { default: 'memory:' },
)

/**
 * Reads what {@link storageUrl} allows.
 *
 * @returns undefined if a percent-encoding or a port is invalid.
 */
export function parseStorageUrl(url: string): Engine | undefined {
  if (url === 'memory:') return { engine: 'memory' }
  const [, engine, , username, password, hosts, database] =
    /^([a-z+]+):\/\/(([^:@]*)(?::([^@]*))?@)?([^/]+)\/?(\d*)$/.exec(url) as string[]
  const addresses = (hosts as string).split(',').map((address) => {
    const [, host, port = DEFAULT_PORT] = /^(.*?)(?::(\d+))?$/.exec(address) as string[]
    return { host: (host as string).replace(/^\[|\]$/g, ''), port: Number(port) }
  })
  if (addresses.some(({ port }) => port < 1 || port > 65_535)) return undefined
  try {
    return {
      engine: engine as RemoteEngine['engine'],
      isCluster: (engine as string).endsWith('+cluster'),
      isTls: (engine as string).startsWith('rediss'),
      addresses,
      username: username ? decodeURIComponent(username) : undefined,
      password: password ? decodeURIComponent(password) : undefined,
      database: Number(database),
      ca: undefined,
    }
  } catch {
    return undefined
  }
}

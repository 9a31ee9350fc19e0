import { readFileSync } from 'node:fs'
import { totalmem } from 'node:os'
import { type Static, type TInteger, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { integer, parseParameters, text } from '../http/parameters.ts'
import { HEAD_BYTES } from '../store/redis/object.ts'
import { type Engine, parseStorageUrl, storageUrl } from '../store/storage-url.ts'
import { FAULTS, FAULTS_ALLOWED, type Fault, parseFaults } from './faults.ts'

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']

/**
 * The memory that the process may use, in bytes: the limit of the container, or the memory of the
 * machine.
 */
function memory(): number {
  // 0 if no limit is known, and 2^64 if the control group sets no limit.
  return Math.min(process.constrainedMemory() || Number.POSITIVE_INFINITY, totalmem())
}

/**
 * The memory of the process without the store and the connections, in bytes: 85 MiB at rest, and
 * the current requests.
 */
const PROCESS_BYTES = 160 * 2 ** 20

/**
 * The memory of a connection, in bytes, with an unfinished head of 15 KiB. It is 25 KiB, and 34 KiB
 * if connections are opened and closed as fast as possible, of which the garbage collector recovers
 * a part (512 MiB, full store; test/e2e/resilience.e2e.ts).
 */
const CONNECTION_BYTES = 32 * 2 ** 10

/** The minimum of the default, for a store that may take nearly all of the memory. */
const MIN_CONNECTIONS = 100

/** The number of files that the process opens in addition to its connections. */
const OTHER_FILES = 100

/** The maximum number of connections under the limit of open files. Windows has no such limit. */
function connectionsOfFiles(): number {
  const { userLimits } = process.report.getReport() as { userLimits?: { open_files: { soft: unknown } } }
  return Math.max(1, (Number(userLimits?.open_files.soft) || 2 ** 20) - OTHER_FILES)
}
const MAX_CONNECTIONS = connectionsOfFiles()

/** The number of connections for which there is memory outside the store. */
function connectionsBeside(storeBytes: number): number {
  const fitting = Math.floor((memory() - storeBytes - PROCESS_BYTES) / CONNECTION_BYTES)
  return Math.min(Math.max(fitting, MIN_CONNECTIONS), MAX_CONNECTIONS)
}

/**
 * A token of RFC 6750 section 2.1, and a list of tokens that are separated by commas or white
 * space.
 */
const TOKEN = '[\\w.~+/-]+=*'
const TOKENS = RegExp(`^[\\s,]*${TOKEN}(?:[\\s,]+${TOKEN})*[\\s,]*$`)
const TOKENS_ALLOWED = 'tokens of letters, digits and -._~+/, separated by commas or white space'

/** Settings that may hold a secret. */
const SECRET = new Set(['AUTH_TOKENS', 'STORAGE_URL'])

/** The largest object for Redis, in bytes: `proto-max-bulk-len` without the head. */
const MAX_REDIS_BYTES = 2 ** 29 - HEAD_BYTES

/** Every setting, with its default and its allowed values. An empty variable counts as not set. */
export const configSchema = Type.Object({
  HOST: text(/^[^\s/]+$/, 'an IP address or a host name', { default: 'localhost' }),
  PORT: integer(0, 65_535, { default: 5000 }),
  LOG_LEVEL: text(RegExp(`^(${LOG_LEVELS.join('|')})$`), `one of ${LOG_LEVELS.join(', ')}`, {
    default: 'info',
  }),
  STORAGE_URL: storageUrl,
  STORAGE_PASSWORD_FILE: Type.Optional(text(/^/, 'a path')),
  STORAGE_CA_FILE: Type.Optional(text(/^/, 'a path')),
  // With braces all keys would be in one slot of a cluster.
  STORAGE_KEY_PREFIX: text(/^[!-z|~]{1,64}$/, '1 to 64 visible ASCII characters without { and }', {
    default: 'storage-api:',
  }),
  MAX_OBJECT_BYTES: integer(0, 2 ** 30, { unit: 'bytes', default: 16 * 2 ** 20 }),
  MAX_STORE_BYTES: integer(0, memory(), {
    unit: 'bytes',
    default: Math.floor(memory() / 2),
  }),
  MAX_CONNECTIONS: Type.Optional(integer(1, MAX_CONNECTIONS)),
  AUTH_TOKENS: Type.Optional(text(TOKENS, TOKENS_ALLOWED)),
  AUTH_TOKENS_FILE: Type.Optional(text(/^/, 'a path')),
  HEADERS_TIMEOUT_SECONDS: seconds(15),
  REQUEST_TIMEOUT_SECONDS: seconds(120),
  RESPONSE_TIMEOUT_SECONDS: seconds(300),
  STALL_TIMEOUT_SECONDS: seconds(60),
  KEEP_ALIVE_SECONDS: seconds(72),
  DRAIN_SECONDS: integer(0, 3600, { unit: 'seconds', default: 5 }),
  FAULTS: Type.Optional(text(FAULTS, FAULTS_ALLOWED)),
  REVISION: text(/^[!-~]{1,128}$/, '1 to 128 visible ASCII characters', { default: 'unknown' }),
})

function seconds(fallback: number): TInteger {
  return integer(1, 3600, { unit: 'seconds', default: fallback })
}

/**
 * The settings under the names of their variables, with the content of the files that they name,
 * and the version.
 */
export interface Config
  extends Omit<
    Static<typeof configSchema>,
    | 'AUTH_TOKENS'
    | 'AUTH_TOKENS_FILE'
    | 'FAULTS'
    | 'MAX_CONNECTIONS'
    | 'STORAGE_URL'
    | 'STORAGE_PASSWORD_FILE'
    | 'STORAGE_CA_FILE'
  > {
  /**
   * `STORAGE_URL`, with the password of `STORAGE_PASSWORD_FILE` and the certificates of
   * `STORAGE_CA_FILE`.
   */
  STORAGE: Engine
  /** The tokens of `AUTH_TOKENS` or `AUTH_TOKENS_FILE`. Empty if neither is set. */
  TOKENS: string[]
  /**
   * `MAX_CONNECTIONS`, or the number of connections for which there is memory outside the store.
   */
  MAX_CONNECTIONS: number
  /** The faults of the drill. Empty if `FAULTS` is not set. */
  FAULTS: Fault[]
  /** The `version` of package.json. */
  VERSION: string
}

declare module 'fastify' {
  interface FastifyInstance {
    config: Config
  }
}

/**
 * Reads the settings from environment variables. A fault must delay a request for less time than a
 * request may stall, because the request would never be answered.
 *
 * @throws {TypeError} One line names each wrong variable, its value and the allowed values.
 */
export function loadConfig(env: NodeJS.ProcessEnv): Config {
  const set = Object.entries(env).filter(([, value]) => value !== '')
  const result = parseParameters(configSchema, Object.fromEntries(set))
  if ('wrong' in result) {
    const messages = [...result.wrong].map(([name, message]) =>
      // No token and no password may be in a log, not even a wrong one.
      SECRET.has(name) ? message : `${message}, not ${JSON.stringify(env[name])}`,
    )
    throw new TypeError(messages.join('; '))
  }
  const { AUTH_TOKENS, AUTH_TOKENS_FILE, FAULTS: faults = '', ...others } = result.value
  const { STORAGE_URL, STORAGE_PASSWORD_FILE, STORAGE_CA_FILE, ...settings } = others
  const STORAGE = readStorage(STORAGE_URL, STORAGE_PASSWORD_FILE, STORAGE_CA_FILE)
  if (STORAGE.engine !== 'memory' && settings.MAX_OBJECT_BYTES > MAX_REDIS_BYTES)
    throw new TypeError(`MAX_OBJECT_BYTES must be at most ${MAX_REDIS_BYTES} bytes with ${STORAGE.engine}`)
  const FAULTS = parseFaults(faults)
  const { STALL_TIMEOUT_SECONDS, RESPONSE_TIMEOUT_SECONDS } = settings
  const timeoutSeconds = Math.min(STALL_TIMEOUT_SECONDS, RESPONSE_TIMEOUT_SECONDS)
  const late = FAULTS.find(({ delayMs }) => delayMs >= timeoutSeconds * 1000)
  if (late !== undefined)
    throw new TypeError(
      `FAULTS must delay less than STALL_TIMEOUT_SECONDS and RESPONSE_TIMEOUT_SECONDS, ${timeoutSeconds} s, not ${JSON.stringify(late.text)}`,
    )
  return {
    ...settings,
    MAX_CONNECTIONS: settings.MAX_CONNECTIONS ?? connectionsBeside(settings.MAX_STORE_BYTES),
    STORAGE,
    TOKENS: readTokens(AUTH_TOKENS, AUTH_TOKENS_FILE),
    FAULTS,
    VERSION: packageVersion(),
  }
}

function readStorage(url: string, passwordFile: string | undefined, caFile: string | undefined): Engine {
  const storage = parseStorageUrl(url)
  if (storage === undefined) throw new TypeError(`STORAGE_URL must be ${storageUrl.allowed}`)
  const password =
    passwordFile === undefined ? undefined : readFile('STORAGE_PASSWORD_FILE', passwordFile).trim()
  const ca = caFile === undefined ? undefined : readFile('STORAGE_CA_FILE', caFile)
  if (storage.engine === 'memory') return storage
  if (storage.password !== undefined && password !== undefined)
    throw new TypeError('STORAGE_PASSWORD_FILE must not be set if STORAGE_URL has a password')
  if (ca !== undefined && !storage.isTls)
    throw new TypeError('STORAGE_CA_FILE must not be set without rediss or rediss+cluster in STORAGE_URL')
  return { ...storage, password: storage.password ?? password, ca }
}

/** The content of the file that a setting names. It must not be empty. */
function readFile(name: string, file: string): string {
  try {
    const content = readFileSync(file, 'utf8')
    if (content.trim() !== '') return content
  } catch {}
  throw new TypeError(`${name} must name a readable file that is not empty, not ${JSON.stringify(file)}`)
}

function readTokens(tokens: string | undefined, file: string | undefined): string[] {
  if (tokens !== undefined && file !== undefined)
    throw new TypeError('AUTH_TOKENS and AUTH_TOKENS_FILE must not both be set')
  return (tokens ?? readTokensFile(file)).split(/[\s,]+/).filter((token) => token !== '')
}

function readTokensFile(file: string | undefined): string {
  if (file === undefined) return ''
  try {
    const tokens = readFileSync(file, 'utf8')
    if (TOKENS.test(tokens)) return tokens
  } catch {}
  throw new TypeError(
    `AUTH_TOKENS_FILE must name a readable file of ${TOKENS_ALLOWED}, not ${JSON.stringify(file)}`,
  )
}

function packageVersion(): string {
  return JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version
}

const plugin: FastifyPluginAsync<{ config: Config }> = async (app, { config }) => {
  app.decorate('config', config)
}

/** Decorates the application with `config`, the settings that {@link loadConfig} has read. */
export default fp(plugin, { name: 'config' })

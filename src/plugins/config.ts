import { readFileSync } from 'node:fs'
import { totalmem } from 'node:os'
import { type Static, type TInteger, type TString, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']

/** The memory that the process may use, in bytes: the container's limit, or the machine's memory. */
function memory(): number {
  // 0 where no limit is known, and 2^64 where the control group sets none.
  return Math.min(process.constrainedMemory() || Number.POSITIVE_INFINITY, totalmem())
}

function integer(name: string, minimum: number, maximum: number, fallback: number, unit = ''): TInteger {
  const allowed = `${name} must be an integer from ${minimum} to ${maximum}${unit && ` ${unit}`}`
  return Type.Integer({ minimum, maximum, default: fallback, allowed })
}

function text(name: string, pattern: RegExp, fallback: string, allowed: string): TString {
  return Type.String({ pattern: pattern.source, default: fallback, allowed: `${name} must be ${allowed}` })
}

/** Every setting, with its default and what is allowed. A variable that is set but empty counts as not set. */
export const configSchema = Type.Object({
  HOST: text('HOST', /^[^\s/]+$/, '0.0.0.0', 'an IP address or a host name'),
  PORT: integer('PORT', 0, 65_535, 5000),
  LOG_LEVEL: text(
    'LOG_LEVEL',
    RegExp(`^(${LOG_LEVELS.join('|')})$`),
    'info',
    `one of ${LOG_LEVELS.join(', ')}`,
  ),
  STORAGE_URL: text('STORAGE_URL', /^memory:$/, 'memory:', 'memory:'),
  MAX_OBJECT_BYTES: integer('MAX_OBJECT_BYTES', 0, 2 ** 30, 16 * 2 ** 20, 'bytes'),
  MAX_STORE_BYTES: integer('MAX_STORE_BYTES', 0, memory(), Math.floor(memory() / 2), 'bytes'),
  DRAIN_SECONDS: integer('DRAIN_SECONDS', 0, 3600, 5, 'seconds'),
  REVISION: text('REVISION', /^[!-~]{1,128}$/, 'unknown', '1 to 128 visible ASCII characters'),
})

/** The settings as `process.env` names them, and the release that runs. */
export interface Config extends Static<typeof configSchema> {
  /** The `version` of package.json. */
  VERSION: string
}

declare module 'fastify' {
  interface FastifyInstance {
    config: Config
  }
}

/**
 * Reads the settings from environment variables.
 *
 * @throws {TypeError} naming each wrong variable, its value and what is allowed, on one line.
 */
export function loadConfig(env: NodeJS.ProcessEnv): Config {
  const set = Object.entries(configSchema.properties)
    .filter(([name]) => env[name])
    .map(([name, { type }]) => [name, type === 'integer' ? parseInteger(env[name]) : env[name]])
  const settings = Value.Default(configSchema, Object.fromEntries(set))
  if (!Value.Check(configSchema, settings)) {
    const wrong = new Map(
      [...Value.Errors(configSchema, settings)].map(({ path, schema }) => [path.slice(1), schema]),
    )
    const messages = [...wrong].map(([name, { allowed }]) => `${allowed}, not ${JSON.stringify(env[name])}`)
    throw new TypeError(messages.join('; '))
  }
  return { ...settings, VERSION: packageVersion() }
}

/** Decimal digits as a number, and anything else as it is, for the schema to refuse: `Number` takes `0x10` and `1e3`. */
function parseInteger(value = ''): number | string {
  return /^-?\d+$/.test(value) ? Number(value) : value
}

function packageVersion(): string {
  return JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version
}

const plugin: FastifyPluginAsync<{ config: Config }> = async (app, { config }) => {
  app.decorate('config', config)
}

/** Decorates the application with `config`, which {@link loadConfig} has read. */
export default fp(plugin, { name: 'config' })

import { type Static, type TInteger, type TObject, type TString, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'

export interface IntegerOptions {
  /** What the number counts, for the message. */
  unit?: string
  description?: string
  default?: number
}

/** An integer that comes as decimal digits. */
export function integer(
  name: string,
  minimum: number,
  maximum: number,
  { unit, ...options }: IntegerOptions = {},
): TInteger {
  const allowed = `${name} must be an integer from ${minimum} to ${maximum}${unit ? ` ${unit}` : ''}`
  return Type.Integer({ minimum, maximum, ...options, allowed })
}

export interface TextOptions {
  description?: string
  default?: string
}

/** A text that a pattern describes, and `allowed` in words. */
export function text(name: string, pattern: RegExp, allowed: string, options: TextOptions = {}): TString {
  return Type.String({ pattern: pattern.source, ...options, allowed: `${name} must be ${allowed}` })
}

/**
 * Reads parameters that come as text, environment variables or a query, as a schema of {@link integer}s and
 * {@link text}s types them, and fills in its defaults. Parameters that the schema does not know are left out.
 *
 * @param texts the parameters that are there, by name. What is no single string is wrong.
 * @returns the values, or what is allowed for each parameter that is wrong, by name.
 */
export function parseParameters<T extends TObject>(
  schema: T,
  texts: Record<string, unknown>,
): { value: Static<T> } | { wrong: Map<string, string> } {
  const known = Object.entries(schema.properties)
    .filter(([name]) => texts[name] !== undefined)
    .map(([name, { type }]) => [name, type === 'integer' ? parseInteger(texts[name]) : texts[name]])
  const value = Value.Default(schema, Object.fromEntries(known))
  if (Value.Check(schema, value)) return { value }
  return {
    wrong: new Map(
      [...Value.Errors(schema, value)].map(({ path, schema }) => [path.slice(1), schema.allowed]),
    ),
  }
}

/** Decimal digits as a number, and anything else as it is, for the schema to refuse: `Number` takes `0x10` and `1e3`. */
function parseInteger(value: unknown): unknown {
  return typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : value
}

import { type Static, type TInteger, type TObject, type TSchema, type TString, Type } from '@sinclair/typebox'

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
 * {@link text}s types them, and fills in its defaults; what has none is optional. Parameters that the schema does not know are
 * left out. By hand, because TypeBox takes 15 us to find what is wrong, which is most of a GET.
 *
 * @param texts the parameters that are there, by name. What is no single string is wrong.
 * @returns the values, or what is allowed for each parameter that is wrong, by name.
 */
export function parseParameters<T extends TObject>(
  schema: T,
  texts: Record<string, unknown>,
): { value: Static<T> } | { wrong: Map<string, string> } {
  const value: Record<string, unknown> = {}
  const wrong = new Map<string, string>()
  for (const [name, property] of Object.entries(schema.properties)) {
    const text = texts[name]
    const read = text === undefined ? property.default : readParameter(property, text)
    if (read !== undefined) value[name] = read
    else if (text !== undefined) wrong.set(name, property.allowed)
  }
  return wrong.size === 0 ? { value: value as Static<T> } : { wrong }
}

/** Returns undefined for what the schema does not allow. `Number` alone takes `0x10` and `1e3`. */
function readParameter({ type, pattern, minimum, maximum }: TSchema, text: unknown): unknown {
  if (typeof text !== 'string') return undefined
  if (type !== 'integer') return RegExp(pattern).test(text) ? text : undefined
  const number = /^-?\d+$/.test(text) ? Number(text) : Number.NaN
  return number >= minimum && number <= maximum ? number : undefined
}

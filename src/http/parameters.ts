import { type Static, type TInteger, type TObject, type TSchema, type TString, Type } from '@sinclair/typebox'

export interface IntegerOptions {
  /** The unit of the number. The error message names it. */
  unit?: string
  description?: string
  default?: number
}

/** An integer in decimal digits. */
export function integer(
  minimum: number,
  maximum: number,
  { unit, ...options }: IntegerOptions = {},
): TInteger {
  const allowed = `an integer from ${minimum} to ${maximum}${unit ? ` ${unit}` : ''}`
  return Type.Integer({ minimum, maximum, ...options, allowed })
}

export interface TextOptions {
  description?: string
  default?: string
}

/**
 * A text that matches a pattern. `allowed` describes the pattern in words: the message is `NAME
 * must be ALLOWED`.
 */
export function text(pattern: RegExp, allowed: string, options: TextOptions = {}): TString {
  return Type.String({ pattern: pattern.source, ...options, allowed })
}

/**
 * Reads parameters that arrive as text, environment variables or a query. The properties of the
 * schema are {@link integer}s and {@link text}s. A parameter that is absent gets its default, or is
 * left out if it has none. Unknown parameters are left out. TypeBox is not used because it takes 15
 * us to find what is wrong, which is most of a GET.
 *
 * @param texts the parameters by name. A value that is not a single string is wrong.
 * @returns the values, or a message for each wrong parameter, by name.
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
    else if (text !== undefined) wrong.set(name, `${name} must be ${property.allowed}`)
  }
  return wrong.size === 0 ? { value: value as Static<T> } : { wrong }
}

/**
 * Returns undefined if the schema does not allow the text. `Number` alone would accept `0x10` and
 * `1e3`.
 */
function readParameter({ type, pattern, minimum, maximum }: TSchema, text: unknown): unknown {
  if (typeof text !== 'string') return undefined
  if (type !== 'integer') return RegExp(pattern).test(text) ? text : undefined
  const number = /^-?\d+$/.test(text) ? Number(text) : Number.NaN
  return number >= minimum && number <= maximum ? number : undefined
}

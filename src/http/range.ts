/** A part of an object: the positions of its first byte and its last byte. */
export interface ByteRange {
  first: number
  last: number
}

/**
 * One range of bytes, or the last bytes (RFC 9110 section 14.1.2). The unit's case does not matter.
 */
const ONE_RANGE = /^bytes=(?:(\d+)-(\d*)|-(\d+))$/i

/**
 * Reads a `Range` field for an object of `size` bytes.
 *
 * @returns undefined if the field is to be ignored: it is absent, malformed, in another unit, or
 * has several ranges, which a server may answer with the whole object (RFC 9110 section 14.2). The
 * last bytes of an empty object are ignored too: the range is satisfiable, but no `Content-Range`
 * can express it.
 */
export function readRange(field: string | undefined, size: number): ByteRange | 'unsatisfiable' | undefined {
  const [, from, to, suffixLength] = ONE_RANGE.exec(field ?? '') ?? []
  if (suffixLength !== undefined) {
    if (Number(suffixLength) === 0) return 'unsatisfiable'
    return size === 0 ? undefined : { first: Math.max(size - Number(suffixLength), 0), last: size - 1 }
  }
  if (from === undefined) return undefined
  const first = Number(from)
  const last = to ? Number(to) : Number.POSITIVE_INFINITY
  // `Number` may round two numbers above 2^53 to the same value. BigInts alone would take 2 us.
  if (to && last <= first && BigInt(to) < BigInt(from)) return undefined
  return first < size ? { first, last: Math.min(last, size - 1) } : 'unsatisfiable'
}

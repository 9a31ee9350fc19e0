/** A part of an object: the positions of its first and its last byte. */
export interface ByteRange {
  first: number
  last: number
}

/** One range of bytes, or the last bytes (RFC 9110 section 14.1.2). Units are compared without case. */
const ONE_RANGE = /^bytes=(?:(\d+)-(\d*)|-(\d+))$/i

/**
 * Reads a `Range` field for an object of `size` bytes.
 *
 * @returns undefined where the field is to be ignored: absent, malformed, of another unit, or of several ranges,
 * which a server may answer with the whole (RFC 9110 section 14.2). So is the end of an empty object: it is
 * satisfiable, and no `Content-Range` could say so.
 */
export function readRange(field: string | undefined, size: number): ByteRange | 'unsatisfiable' | undefined {
  const [, from, to, suffixLength] = ONE_RANGE.exec(field ?? '') ?? []
  if (suffixLength !== undefined) {
    if (Number(suffixLength) === 0) return 'unsatisfiable'
    return size === 0 ? undefined : { first: Math.max(size - Number(suffixLength), 0), last: size - 1 }
  }
  if (from === undefined) return undefined
  // Two numbers beyond 2^53 may be the same to `Number`.
  if (to && BigInt(to) < BigInt(from)) return undefined
  const first = Number(from)
  const last = to ? Number(to) : Number.POSITIVE_INFINITY
  return first < size ? { first, last: Math.min(last, size - 1) } : 'unsatisfiable'
}

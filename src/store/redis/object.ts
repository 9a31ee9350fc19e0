import { randomInt } from 'node:crypto'
import type { NewObject, ObjectDescription } from '../store.ts'

/** The lengths of an entity tag, a number, and the name of a write, in bytes. */
const ETAG_BYTES = 24
const NUMBER_BYTES = 12
const NAME_BYTES = 16

/**
 * The length of the head, in bytes. A value is a head and the object's bytes. The head has the
 * entity tag, the size in bytes, the times when the object was written and when it expires (both in
 * Unix seconds), and the name of the write. Fields are padded and separated with spaces, and a line
 * feed ends the head. If an object does not expire, that field is empty.
 */
export const HEAD_BYTES = ETAG_BYTES + 3 * (1 + NUMBER_BYTES) + 1 + NAME_BYTES + 1

const LINE_FEED = 10

/** 48 random bits, so that no other process has the same names. */
const PROCESS_NAME = randomInt(2 ** 48 - 1).toString(36)
let writes = 0

/** Returns a name that no other write has. */
export const writeName = () => PROCESS_NAME + (writes++).toString(36)

const number = (value: number | undefined) => `${value ?? ''}`.padEnd(NUMBER_BYTES)

/** The head of an object that is written now. No two writes have the same head. */
export function formatHead({ bytes, etag, expires }: NewObject): string {
  const modified = Math.floor(Date.now() / 1000)
  const numbers = `${number(bytes.length)} ${number(modified)} ${number(expires)}`
  return `${etag.padEnd(ETAG_BYTES)} ${numbers} ${writeName().padEnd(NAME_BYTES)}\n`
}

/**
 * Reads the head of a value. Returns undefined if the value is not an object, or if the object has
 * expired.
 */
export function parseHead(value: Buffer): ObjectDescription | undefined {
  if (value[HEAD_BYTES - 1] !== LINE_FEED) return undefined
  const head = value.toString('latin1', 0, HEAD_BYTES)
  const numberAt = (index: number) => {
    const from = ETAG_BYTES + index * (1 + NUMBER_BYTES)
    return Number(head.slice(from, from + 1 + NUMBER_BYTES))
  }
  const expires = numberAt(2) || undefined
  if (expires !== undefined && expires * 1000 <= Date.now()) return undefined
  return { etag: head.slice(0, ETAG_BYTES).trimEnd(), size: numberAt(0), modified: numberAt(1), expires }
}

import { overloaded } from '../../http/errors.ts'
import type { ByteRange } from '../../http/range.ts'
import type { ObjectDescription, Select, StoredObject } from '../store.ts'
import type { Arguments } from './connection.ts'
import type { Gate } from './gate.ts'
import { type Lanes, type Span, waitIn } from './lanes.ts'
import { HEAD_BYTES, parseHead } from './object.ts'
import { forEachPart, PART_BYTES } from './parts.ts'

/**
 * The largest object that counts as small, in bytes. The first command reads this many bytes of any
 * object.
 */
export const SMALL_BYTES = 8 * 1024

/** After this many attempts that a write disturbed, one command reads the whole object. */
const MAX_ATTEMPTS = 2

/** An object whose bytes take room in this process. */
export interface ReadObject extends StoredObject {
  /** Whether the room stays taken after the current turn of the event loop. */
  isKept: boolean
}

const getRange = (key: string, first: number, last: number): Arguments => [
  'GETRANGE',
  key,
  `${first}`,
  `${last}`,
]

/** The command that reads the head of a value. */
export const readHead = (key: string) => getRange(key, 0, HEAD_BYTES - 1)

const whole = ({ size }: ObjectDescription): ByteRange => ({ first: 0, last: size - 1 })

/**
 * The selected part of a value that begins with the head. Returns undefined if the value is too
 * short.
 */
function cut(object: ObjectDescription, { first, last }: ByteRange, value: Buffer): ReadObject | undefined {
  const end = HEAD_BYTES + last + 1
  if (value.length < end) return undefined
  return { ...object, bytes: value.subarray(HEAD_BYTES + first, end), isKept: false }
}

/**
 * Reads objects. It fetches only the selected bytes of a large one, in parts, so that other objects
 * have their turn.
 */
export class RedisReader {
  readonly #lanes: Lanes
  readonly #memory: Gate

  /** @param memory holds the room for the objects that are being read. */
  constructor(lanes: Lanes, memory: Gate) {
    this.#lanes = lanes
    this.#memory = memory
  }

  /**
   * The room of the object stays taken for the current turn of the event loop. Its response is sent
   * in this turn, and can keep the room if the client does not read at once. So nothing else can
   * take the room in between.
   *
   * @throws {HttpError} 503 if this process has no room for the object, or the wait is too long.
   */
  async read(key: string, span: Span, select: Select = whole): Promise<ReadObject | undefined> {
    for (let attempt = 0; ; attempt++) {
      const value = (await this.#lanes.send(
        key,
        getRange(key, 0, HEAD_BYTES + SMALL_BYTES - 1),
        true,
      )) as Buffer
      const object = parseHead(value)
      if (object === undefined) return undefined
      const range = select(object)
      const bytes = range.last + 1 - range.first
      const small = cut(object, range, value)
      if (small !== undefined) {
        if (!this.#memory.tryEnter(bytes, true)) throw overloaded
        return this.#leaveLater(small)
      }
      const isLastAttempt = attempt === MAX_ATTEMPTS
      const turn = this.#memory.enter(bytes)
      if (turn !== undefined) await waitIn(span, turn)
      const reading =
        isLastAttempt || (range.first < SMALL_BYTES && range.last < PART_BYTES)
          ? this.#readAtOnce(key, span, bytes, isLastAttempt ? -1 : HEAD_BYTES + range.last, select)
          : this.#readParts(key, span, object, range, value)
      const read = await reading.catch((error) => {
        this.#memory.leave(bytes)
        throw error
      })
      // Another object may have replaced the first one. If it is larger, it may exceed the limit,
      // because its memory is in use already.
      this.#memory.leave(typeof read === 'object' ? bytes - read.bytes.length : bytes)
      if (typeof read === 'object') return this.#leaveLater(read)
      if (read === undefined) return undefined
      if (isLastAttempt) throw overloaded
    }
  }

  #leaveLater(object: ReadObject): ReadObject {
    setImmediate(() => object.isKept || this.#memory.leave(object.bytes.length))
    return object
  }

  /** Reads a value from its beginning with one command, so that no write can disturb it. */
  async #readAtOnce(
    key: string,
    span: Span,
    bytes: number,
    last: number,
    select: Select,
  ): Promise<ReadObject | undefined | 'replaced'> {
    const transfer = { direction: 'read', bytes, span } as const
    const [value] = (await this.#lanes.transfer(key, transfer, getRange(key, 0, last))) as [Buffer]
    const object = parseHead(value)
    return object && (cut(object, select(object), value) ?? 'replaced')
  }

  async #readParts(
    key: string,
    span: Span,
    object: ObjectDescription,
    { first, last }: ByteRange,
    value: Buffer,
  ): Promise<ReadObject | undefined | 'replaced'> {
    const bytes = Buffer.allocUnsafeSlow(last + 1 - first)
    let isReplaced = false
    const readPart = async (at: number, length: number, span?: Span) => {
      const command = getRange(key, HEAD_BYTES + at, HEAD_BYTES + at + length - 1)
      const transfer = { direction: 'read', bytes: length, ...(span && { span }) } as const
      const [part] = (await this.#lanes.transfer(key, transfer, command)) as [Buffer]
      if (part.copy(bytes, at - first) < length) isReplaced = true
    }
    const firstLength = Math.min(PART_BYTES, bytes.length)
    await readPart(first, firstLength, span)
    await forEachPart(first + firstLength, last + 1, readPart)
    // Every write has a different head. If the head is still the same, nothing has been written
    // meanwhile.
    const head = (await this.#lanes.send(key, readHead(key), true)) as Buffer
    return isReplaced || !head.equals(value.subarray(0, HEAD_BYTES))
      ? 'replaced'
      : { ...object, bytes, isKept: false }
  }
}

import type { Preconditions } from '../../http/preconditions.ts'
import type { NewObject, PutOutcome } from '../store.ts'
import { type Arguments, errorCode } from './connection.ts'
import type { Lanes, Span } from './lanes.ts'
import { formatHead, HEAD_BYTES, writeName } from './object.ts'
import { forEachPart, PART_BYTES } from './parts.ts'
import { SMALL_BYTES } from './reader.ts'
import { MOVE, PUT, preconditionArguments, type Script, STAGE } from './scripts.ts'

/** No id contains this character. A key with it is an object that is not complete yet. */
export const STAGING = '\u0001'

/**
 * How long the server keeps a staged object after the last part, in milliseconds, in case its
 * writer dies.
 */
const STAGED_MS = 60_000

/** When an object expires, for the scripts: Unix time in milliseconds, or an empty string. */
const endMs = ({ expires }: NewObject) => (expires === undefined ? '' : `${expires * 1000}`)

/**
 * Runs a script by its hash, or by its text if the server does not have it yet.
 *
 * @param send sends a command.
 */
export async function evaluate(
  send: (args: Arguments) => Promise<unknown>,
  { text, sha1 }: Script,
  keys: string[],
  args: Arguments,
): Promise<unknown> {
  const rest = [`${keys.length}`, ...keys, ...args]
  try {
    return await send(['EVALSHA', sha1, ...rest])
  } catch (error) {
    if (errorCode(error) !== 'NOSCRIPT') throw error
    return send(['EVAL', text, ...rest])
  }
}

interface Write {
  readonly key: string
  readonly object: NewObject
  readonly preconditions: Preconditions | undefined
  readonly span: Span
  /**
   * Says that the client library holds bytes of the object. Returns the function to call when it
   * does not any more.
   */
  hold(): () => void
}

/**
 * Writes objects: one script writes a small one; a large one is staged in parts, and a script moves
 * it to its key.
 */
export class RedisWriter {
  readonly #lanes: Lanes
  readonly #prefix: string

  /** @param prefix is the prefix of every key. */
  constructor(lanes: Lanes, prefix: string) {
    this.#lanes = lanes
    this.#prefix = prefix
  }

  /**
   * @param onSettled is called when the client library does not hold any of the object's bytes any
   * more.
   * @throws {HttpError} 503 if the wait is too long.
   */
  put(
    key: string,
    object: NewObject,
    preconditions: Preconditions | undefined,
    span: Span,
    onSettled: () => void,
  ): Promise<PutOutcome> {
    let held = 1
    const release = () => {
      if (--held === 0) onSettled()
    }
    const hold = () => {
      held++
      return release
    }
    const write = { key, object, preconditions, span, hold }
    const written = object.bytes.length <= PART_BYTES ? this.#putAtOnce(write) : this.#putParts(write)
    return written
      .then((outcome) => `${outcome}` as PutOutcome)
      .catch((error) => {
        if (errorCode(error) === 'OOM') return 'full' as const
        throw error
      })
      .finally(release)
  }

  #putAtOnce({ key, object, preconditions, span, hold }: Write): Promise<unknown> {
    const bytes = object.bytes.length
    const value = Buffer.concat([Buffer.from(formatHead(object)), object.bytes])
    const args = [...preconditionArguments(preconditions), value, endMs(object)]
    const send = (args: Arguments) =>
      bytes <= SMALL_BYTES
        ? this.#lanes.send(key, args, false, hold())
        : this.#lanes.transfer(key, { direction: 'write', bytes, span, onSettled: hold() }, args)
    return evaluate(send, PUT, [key], args)
  }

  async #putParts({ key, object, preconditions, span, hold }: Write): Promise<unknown> {
    const { bytes } = object
    const head = formatHead(object)
    const staged = `${this.#prefix}${STAGING}${writeName()}${this.#lanes.tagFor(key)}`
    // It waits for its turn like a part, before the server has anything to keep.
    const sendFirst = (args: Arguments) =>
      this.#lanes.transfer(staged, { direction: 'write', bytes: PART_BYTES, span }, args)
    await evaluate(sendFirst, STAGE, [staged], [head, `${HEAD_BYTES + bytes.length}`, `${STAGED_MS}`])
    try {
      await forEachPart(0, bytes.length, async (at, length) => {
        const part = bytes.subarray(at, at + length)
        const write = ['SETRANGE', staged, `${HEAD_BYTES + at}`, part]
        // If the server has removed the key meanwhile, the part creates it again, so it must
        // expire.
        const keep = ['PEXPIRE', staged, `${STAGED_MS}`]
        await this.#lanes.transfer(
          staged,
          { direction: 'write', bytes: length, onSettled: hold() },
          write,
          keep,
        )
      })
      const args = [...preconditionArguments(preconditions), head, endMs(object)]
      return await evaluate((args) => this.#lanes.send(key, args), MOVE, [key, staged], args)
    } catch (error) {
      // If this fails too, the key expires.
      this.#lanes.send(staged, ['UNLINK', staged]).catch(() => {})
      throw error
    }
  }
}

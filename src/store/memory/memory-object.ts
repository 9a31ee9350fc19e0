import type { NewObject, ObjectDescription } from '../store.ts'
import type { RowOwner } from './packed-rows.ts'

/**
 * The largest object that shares a Buffer with others, in bytes: this saves `OWN_BUFFER`, but a GET
 * copies the bytes.
 */
export const MAX_PACKED_BYTES = 1024

/**
 * An object in memory. Each field costs 8 bytes for each of a million objects, so rare fields are
 * in {@link MortalObject}.
 */
export class MemoryObject implements ObjectDescription, RowOwner {
  readonly id: string
  readonly size: number
  readonly etag: string
  declare readonly expires: number | undefined
  readonly modified = Math.floor(Date.now() / 1000)
  /** The bytes, or the number of the row that has a copy of them. */
  place: Buffer | number

  constructor(id: string, { bytes, etag }: NewObject) {
    this.id = id
    this.size = bytes.length
    this.etag = etag
    this.place = bytes
  }

  get isPacked(): boolean {
    return this.size <= MAX_PACKED_BYTES
  }
}

/** An object that expires. */
export class MortalObject extends MemoryObject {
  override readonly expires: number

  constructor(id: string, object: NewObject, expires: number) {
    super(id, object)
    this.expires = expires
  }
}

export const isMortal = (object: MemoryObject): object is MortalObject => object.expires !== undefined

export const hasExpired = (object: MortalObject) => object.expires * 1000 <= Date.now()

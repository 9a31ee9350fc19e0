/** A map of a million entries in so many parts holds four thousand in each. */
const SHARDS = 256

/** FNV-1a, of 32 bits, over UTF-16 code units (RFC 9923). */
function hashOf(id: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 0x01000193)
  return hash | 0
}

/**
 * Values by their ids, of which there may be millions.
 *
 * A Map by id would have V8 make each string that is looked up one of its internalized strings, in a table that
 * every full garbage collection walks while all else waits: 30 ms with a million. So the Maps here are by hash. Of ids
 * that have one hash all but the first are kept in a Map by id: whoever makes such ids finds a Map as any other.
 *
 * There are many Maps, and none is large: one that has grown to a million entries, or has lost half of them, is rebuilt
 * by V8 within a single `set` or `delete`, which takes 20 to 80 ms.
 */
export class IdMap<V extends { readonly id: string }> {
  readonly #shards = Array.from({ length: SHARDS }, () => new Map<number, V>())
  readonly #others = new Map<string, V>()
  #size = 0

  get size(): number {
    return this.#size
  }

  get(id: string): V | undefined {
    const hash = hashOf(id)
    const value = this.#shard(hash).get(hash)
    return value !== undefined && value.id === id ? value : this.#other(id)
  }

  set(value: V): void {
    const { id } = value
    const hash = hashOf(id)
    const shard = this.#shard(hash)
    const first = shard.get(hash)
    const isFirst = first === undefined ? this.#other(id) === undefined : first.id === id
    if ((isFirst ? first : this.#other(id)) === undefined) this.#size++
    if (isFirst) shard.set(hash, value)
    else this.#others.set(id, value)
  }

  delete(id: string): void {
    const hash = hashOf(id)
    const shard = this.#shard(hash)
    if (shard.get(hash)?.id === id) shard.delete(hash)
    else if (this.#other(id) !== undefined) this.#others.delete(id)
    else return
    this.#size--
  }

  clear(): void {
    for (const shard of this.#shards) shard.clear()
    this.#others.clear()
    this.#size = 0
  }

  #other(id: string): V | undefined {
    return this.#others.size === 0 ? undefined : this.#others.get(id)
  }

  #shard(hash: number): Map<number, V> {
    return this.#shards[hash & (SHARDS - 1)] as Map<number, V>
  }
}

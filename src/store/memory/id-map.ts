/** The number of Maps. With a million entries each has four thousand. */
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
 * The keys of the Maps are hashes. With ids as keys V8 would internalize each id that is looked up.
 * Every full garbage collection walks the table of internalized strings while everything waits: 30
 * ms for a million. If several ids have the same hash, all but the first are in a Map by id, so an
 * attacker who makes such ids gains nothing.
 *
 * There are many small Maps. V8 rebuilds a Map of a million entries within a single `set` or
 * `delete`, which takes 20 to 80 ms.
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

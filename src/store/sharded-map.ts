/** A Map of a million entries in so many parts holds four thousand in each. */
const SHARDS = 256

/** Any id's shard; a good spread is enough, for all that a bad one costs is time. */
function shardOf(id: string): number {
  let hash = 0
  for (let i = 0; i < id.length; i++) hash = (hash * 31 + id.charCodeAt(i)) | 0
  return hash & (SHARDS - 1)
}

/**
 * A Map by id that never holds the event loop for long: one Map that has grown to a million entries, or has lost half of
 * them, is rebuilt by V8 within a single `set` or `delete`, which takes 20 to 80 ms.
 */
export class ShardedMap<V> {
  readonly #shards = Array.from({ length: SHARDS }, () => new Map<string, V>())
  #size = 0

  get size(): number {
    return this.#size
  }

  get(id: string): V | undefined {
    return this.#shard(id).get(id)
  }

  set(id: string, value: V): void {
    const shard = this.#shard(id)
    this.#size -= shard.size
    shard.set(id, value)
    this.#size += shard.size
  }

  delete(id: string): void {
    if (this.#shard(id).delete(id)) this.#size--
  }

  clear(): void {
    for (const shard of this.#shards) shard.clear()
    this.#size = 0
  }

  #shard(id: string): Map<string, V> {
    return this.#shards[shardOf(id)] as Map<string, V>
  }
}

import type { FastifyBaseLogger } from 'fastify'
import { engineUnavailable, overloaded } from '../errors.ts'
import { failing, type Preconditions } from '../preconditions.ts'
import { Deadlines } from './deadlines.ts'
import { type Arguments, type Connection, connect } from './redis-connection.ts'
import { errorCode, Health } from './redis-health.ts'
import { listKeys } from './redis-listing.ts'
import { DELETE, PUT, preconditionArguments, type Script } from './redis-scripts.ts'
import type { RemoteEngine } from './storage-url.ts'
import {
  type DeleteOutcome,
  type ListedObject,
  type ListOptions,
  listed,
  type NewObject,
  type ObjectDescription,
  type Page,
  type PutOutcome,
  type Store,
  type StoredObject,
  type StoreStats,
} from './store.ts'

/** How long an operation may take, in milliseconds, with objects of so many bytes at most; larger ones in proportion. */
export const LIMIT_MS = 800
const LIMIT_BYTES = 16 * 2 ** 20

/** How long the start waits for the engine, in milliseconds: without it the service starts all the same. */
const START_MS = 500

/** Errors of a server that is well otherwise: not now, or not here. */
const TEMPORARY = new Set(
  'ASK BUSY CLUSTERDOWN LOADING MASTERDOWN MISCONF MOVED NOAUTH NOPERM NOREPLICAS OOM READONLY TRYAGAIN UNBLOCKED WRONGPASS'.split(
    ' ',
  ),
)

export const OPERATIONS = ['get', 'check', 'put', 'delete', 'list'] as const

export type Operation = (typeof OPERATIONS)[number]

export interface RedisStoreOptions extends RemoteEngine {
  /** What every key begins with. */
  keyPrefix: string
  /** The most that uploads under way and answers that wait for slow clients may take of this process, in bytes. */
  limitBytes: number
  /** The largest object, in bytes. */
  maxObjectBytes: number
  log: FastifyBaseLogger
  /** Told how long each operation took, however it ended. */
  observe(operation: Operation, seconds: number): void
}

/** What the server keeps beside an object's bytes, as src/store/redis-scripts.ts has it; undefined where it has expired. */
function parseMeta(meta: string | null): ObjectDescription | undefined {
  const [etag, size, modified, expires] = (meta ?? '').split(' ')
  if (!etag || (expires && Number(expires) * 1000 <= Date.now())) return undefined
  return {
    etag,
    size: Number(size),
    modified: Number(modified),
    expires: expires ? Number(expires) : undefined,
  }
}

/** Keeps objects in Redis or Valkey, alone or clustered: an object is a key, so that any write is one server's. */
export class RedisStore implements Store {
  readonly engine: string
  readonly #options: RedisStoreOptions
  readonly #deadlines = new Deadlines()
  readonly #connection: Connection
  readonly #health: Health
  #usedBytes = 0

  /** Connects, and waits for that no longer than a moment. */
  static async open(options: RedisStoreOptions): Promise<RedisStore> {
    const store = new RedisStore(options)
    await store.#deadlines.limit(store.#health.known, START_MS).catch(() => {})
    return store
  }

  private constructor(options: RedisStoreOptions) {
    this.engine = options.engine
    this.#options = options
    this.#connection = connect({
      ...options,
      onReady: () => this.#health.onReady(),
      onError: (error) => this.#health.onError(error),
    })
    this.#health = new Health(this.#connection, this.#deadlines, options.log, options.keyPrefix)
  }

  get trouble(): string | undefined {
    return this.#health.trouble
  }

  async get(id: string): Promise<StoredObject | undefined> {
    const [bytes, meta] = await this.#run('get', this.#options.maxObjectBytes, async () => {
      const reply = await this.#connection.send(this.#key(id), ['HMGET', this.#key(id), 'b', 'm'], true)
      return reply as [Buffer | null, Buffer | null]
    })
    const described = meta === null ? undefined : parseMeta(meta.toString('latin1'))
    if (bytes === null || described === undefined) return undefined
    if (this.#usedBytes + bytes.length > this.#options.limitBytes) throw overloaded
    return { bytes, ...described }
  }

  async describe(id: string): Promise<ObjectDescription | undefined> {
    return this.#run('get', 0, () => this.#describe(this.#key(id)))
  }

  async check(id: string, preconditions: Preconditions): Promise<boolean> {
    const object = await this.#run('check', 0, () => this.#describe(this.#key(id)))
    return failing(preconditions, object?.etag) === undefined
  }

  async put(
    id: string,
    { bytes, etag, expires }: NewObject,
    preconditions?: Preconditions,
  ): Promise<PutOutcome> {
    return this.#run('put', bytes.length, () => {
      const modified = Math.floor(Date.now() / 1000)
      const meta = [etag, bytes.length, modified, ...(expires === undefined ? [] : [expires])].join(' ')
      const expiresMs = expires === undefined ? '' : `${expires * 1000}`
      const args = [...preconditionArguments(preconditions), bytes, meta, expiresMs]
      return (this.#evaluate(PUT, id, args) as Promise<PutOutcome>)
        .catch((error) => {
          if (errorCode(error) === 'OOM') return 'full' as const
          throw error
        })
        .finally(() => {
          // Not before: a server that does not answer makes the client library keep what it is to send.
          this.release(bytes.length)
        })
    })
  }

  async delete(id: string, preconditions?: Preconditions): Promise<DeleteOutcome> {
    return this.#run('delete', 0, async () => {
      return (await this.#evaluate(DELETE, id, preconditionArguments(preconditions))) as DeleteOutcome
    })
  }

  async list({ prefix, limit, after }: ListOptions): Promise<Page | undefined> {
    return this.#run('list', 0, async () => {
      const page = await listKeys(this.#connection, this.#key(prefix), limit, after)
      if (page === undefined) return undefined
      const listed = await Promise.all(page.keys.map((key) => this.#list(key)))
      return { objects: listed.filter((object) => object !== undefined), next: page.next }
    })
  }

  /** What an answer is sent from is in this process alone, and counts here. */
  reading({ bytes }: StoredObject): () => void {
    this.#usedBytes += bytes.length
    return () => this.release(bytes.length)
  }

  reserve(bytes: number): boolean {
    if (this.#usedBytes + bytes > this.#options.limitBytes) return false
    this.#usedBytes += bytes
    return true
  }

  release(bytes: number): void {
    this.#usedBytes -= bytes
  }

  async stats(): Promise<StoreStats> {
    const primaries = this.#connection.primaries()
    const answers = primaries.flatMap(({ send }) => [send(['DBSIZE']), send(['INFO', 'memory'])])
    const replies = await this.#deadlines.limit(Promise.all(answers), LIMIT_MS)
    const infos = replies.filter((_reply, i) => i % 2 === 1)
    const total = (field: string) =>
      infos.map((info) => Number(RegExp(`^${field}:(\\d+)`, 'm').exec(`${info}`)?.[1]))
    const sum = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0)
    const limits = total('maxmemory')
    return {
      objects: sum(replies.filter((_reply, i) => i % 2 === 0).map(Number)),
      bytes: sum(total('used_memory')),
      bytesLimit: limits.every((limit) => limit > 0) ? sum(limits) : undefined,
    }
  }

  close(): void {
    this.#health.close()
    this.#connection.close()
    this.#deadlines.close()
  }

  #key(id: string): string {
    return this.#options.keyPrefix + id
  }

  async #describe(key: string): Promise<ObjectDescription | undefined> {
    return parseMeta((await this.#connection.send(key, ['HGET', key, 'm'])) as string | null)
  }

  async #list(key: string): Promise<ListedObject | undefined> {
    const described = await this.#describe(key)
    return described && listed(key.slice(this.#options.keyPrefix.length), described)
  }

  /** Runs a script by its hash, or by its text where the server does not have it yet. */
  async #evaluate({ text, sha1 }: Script, id: string, args: Arguments): Promise<unknown> {
    const key = this.#key(id)
    try {
      return await this.#connection.send(key, ['EVALSHA', sha1, '1', key, ...args])
    } catch (error) {
      if (errorCode(error) !== 'NOSCRIPT') throw error
      return this.#connection.send(key, ['EVAL', text, '1', key, ...args])
    }
  }

  /**
   * Acts within the time that objects of so many bytes may take.
   *
   * @throws {HttpError} 503 for what may go better the next time. An error of a server is a fault if it is none of
   * {@link TEMPORARY}.
   */
  async #run<T>(operation: Operation, bytes: number, act: () => Promise<T>): Promise<T> {
    const started = performance.now()
    return this.#deadlines
      .limit(act(), LIMIT_MS * Math.max(1, bytes / LIMIT_BYTES))
      .catch((error) => {
        const code = errorCode(error)
        // A primary that has become a replica says so on its old connections: the address may lead to another one now.
        if (code === 'READONLY') this.#connection.renew()
        throw code === undefined || TEMPORARY.has(code) ? engineUnavailable(error) : error
      })
      .finally(() => this.#options.observe(operation, (performance.now() - started) / 1000))
  }
}

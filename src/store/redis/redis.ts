import type { FastifyBaseLogger } from 'fastify'
import { engineUnavailable, HttpError } from '../../http/errors.ts'
import { failing, type Preconditions } from '../../http/preconditions.ts'
import type { RemoteEngine } from '../storage-url.ts'
import {
  type DeleteOutcome,
  type ListedObject,
  type ListOptions,
  listed,
  type NewObject,
  type ObjectDescription,
  type Page,
  type PutOutcome,
  type Select,
  type Store,
  type StoredObject,
  type StoreStats,
} from '../store.ts'
import { Answers } from './answers.ts'
import { errorCode } from './connection.ts'
import { Gate } from './gate.ts'
import { Health } from './health.ts'
import { Lanes, type Span } from './lanes.ts'
import { listKeys } from './listing.ts'
import { parseHead } from './object.ts'
import { type ReadObject, RedisReader, readHead, SMALL_BYTES } from './reader.ts'
import { DELETE, preconditionArguments } from './scripts.ts'
import { evaluate, RedisWriter } from './writer.ts'

/** How long the start waits for the engine, in milliseconds. The service also starts without it. */
const START_MS = 500

/** One part in this many of `limitBytes` is for small objects only. */
const SPARE_SHARE = 8

/** Errors that may end without a change here: the server cannot serve the command now. */
const TEMPORARY = new Set(
  'ASK BUSY CLUSTERDOWN LOADING MASTERDOWN MISCONF MOVED NOAUTH NOPERM NOREPLICAS OOM READONLY TRYAGAIN UNBLOCKED WRONGPASS'.split(
    ' ',
  ),
)

export const OPERATIONS = ['get', 'check', 'put', 'delete', 'list'] as const

export type Operation = (typeof OPERATIONS)[number]

export interface RedisStoreOptions extends RemoteEngine {
  /** The prefix of every key. */
  keyPrefix: string
  /**
   * The limit of this process's memory for uploads, objects that are read, and responses to slow
   * clients, in bytes.
   */
  limitBytes: number
  /** The largest object, in bytes. */
  maxObjectBytes: number
  log: FastifyBaseLogger
  /**
   * Called after each operation, with the time that it waited in this process and the time that the
   * engine took.
   */
  observe(operation: Operation, queueSeconds: number, seconds: number): void
  /** Called for each transfer that has waited too long for its turn. */
  onRefused(): void
}

/**
 * Keeps objects in Redis or Valkey, in one server or a cluster. Each object is one key, so each
 * write concerns one server.
 */
export class RedisStore implements Store {
  readonly engine: string
  readonly #options: RedisStoreOptions
  readonly #lanes: Lanes
  readonly #memory: Gate
  readonly #reader: RedisReader
  readonly #writer: RedisWriter
  readonly #health: Health

  /** Connects, and waits for the first check for at most half a second. */
  static async open(options: RedisStoreOptions): Promise<RedisStore> {
    const store = new RedisStore(options)
    await new Answers().within(START_MS, store.#health.known).catch(() => {})
    return store
  }

  private constructor(options: RedisStoreOptions) {
    this.engine = options.engine
    this.#options = options
    const { keyPrefix, limitBytes, maxObjectBytes, log, onRefused } = options
    const events = {
      onReady: () => this.#health.onReady(),
      onError: (error: Error) => this.#health.onError(error),
    }
    this.#lanes = new Lanes({ ...options, ...events }, onRefused)
    // The largest object must fit.
    const spareBytes = Math.max(0, Math.min(limitBytes / SPARE_SHARE, limitBytes - maxObjectBytes))
    this.#memory = new Gate(limitBytes, onRefused, spareBytes)
    this.#reader = new RedisReader(this.#lanes, this.#memory)
    this.#writer = new RedisWriter(this.#lanes, keyPrefix)
    this.#health = new Health(this.#lanes, log, keyPrefix)
  }

  get trouble(): string | undefined {
    return this.#health.trouble
  }

  get(id: string, select?: Select): Promise<StoredObject | undefined> {
    return this.#run('get', (span) => this.#reader.read(this.#key(id), span, select))
  }

  describe(id: string): Promise<ObjectDescription | undefined> {
    return this.#run('get', () => this.#describe(this.#key(id)))
  }

  async check(id: string, preconditions: Preconditions): Promise<boolean> {
    const object = await this.#run('check', () => this.#describe(this.#key(id)))
    return failing(preconditions, object?.etag) === undefined
  }

  put(id: string, object: NewObject, preconditions?: Preconditions): Promise<PutOutcome> {
    // The client library keeps the bytes while the server does not answer. They count until the
    // library drops them.
    const onSettled = () => this.release(object.bytes.length)
    return this.#run('put', (span) => this.#writer.put(this.#key(id), object, preconditions, span, onSettled))
  }

  delete(id: string, preconditions?: Preconditions): Promise<DeleteOutcome> {
    const key = this.#key(id)
    return this.#run('delete', async () => {
      const args = preconditionArguments(preconditions)
      return (await evaluate((args) => this.#lanes.send(key, args), DELETE, [key], args)) as DeleteOutcome
    })
  }

  list({ prefix, limit, after }: ListOptions): Promise<Page | undefined> {
    return this.#run('list', async () => {
      const page = await listKeys(this.#lanes.primaries(), this.#key(prefix), limit, after)
      if (page === undefined) return undefined
      const listed = await Promise.all(page.keys.map((key) => this.#list(key)))
      return { objects: listed.filter((object) => object !== undefined), next: page.next }
    })
  }

  /** Only this process has the bytes of a response. They count until the client has read them. */
  reading(object: ReadObject): () => void {
    object.isKept = true
    return () => this.release(object.bytes.length)
  }

  reserve(bytes: number): boolean {
    return this.#memory.tryEnter(bytes, bytes <= SMALL_BYTES)
  }

  release(bytes: number): void {
    this.#memory.leave(bytes)
  }

  async stats(): Promise<StoreStats> {
    const primaries = this.#lanes.primaries()
    const answers = primaries.flatMap(({ send }) => [send(['DBSIZE']), send(['INFO', 'memory'])])
    const replies = await Promise.all(answers)
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
    this.#lanes.close()
  }

  #key(id: string): string {
    return this.#options.keyPrefix + id
  }

  async #describe(key: string): Promise<ObjectDescription | undefined> {
    return parseHead((await this.#lanes.send(key, readHead(key), true)) as Buffer)
  }

  async #list(key: string): Promise<ListedObject | undefined> {
    const described = parseHead((await this.#lanes.sendBeside(key, readHead(key))) as Buffer)
    return described && listed(key.slice(this.#options.keyPrefix.length), described)
  }

  /**
   * Runs an operation and measures its time.
   *
   * @throws {HttpError} 503 for connection errors and {@link TEMPORARY} errors. Other errors of a
   * server are thrown as they are.
   */
  async #run<T>(operation: Operation, act: (span: Span) => Promise<T>): Promise<T> {
    const begunAt = performance.now()
    const span = { queuedMs: 0 }
    return act(span)
      .catch((error) => {
        if (error instanceof HttpError) throw error
        const code = errorCode(error)
        // The server has become a replica. Its address may lead to the new primary now.
        if (code === 'READONLY') this.#lanes.renew()
        throw code === undefined || TEMPORARY.has(code) ? engineUnavailable(error) : error
      })
      .finally(() => {
        const seconds = (performance.now() - begunAt - span.queuedMs) / 1000
        this.#options.observe(operation, span.queuedMs / 1000, seconds)
      })
  }
}

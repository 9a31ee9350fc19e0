import type { Preconditions } from '../http/preconditions.ts'
import type {
  DeleteOutcome,
  ListOptions,
  MaybePromise,
  NewObject,
  ObjectDescription,
  Page,
  PutOutcome,
  Select,
  Store,
  StoredObject,
  StoreStats,
} from './store.ts'

/**
 * The number of operations by outcome. `error`: the engine failed. A listing that finds no object
 * is a `miss`.
 */
export interface OperationCounts {
  get: Record<'hit' | 'miss' | 'error', number>
  put: Record<PutOutcome | 'error', number>
  delete: Record<DeleteOutcome | 'error', number>
  list: Record<'hit' | 'miss' | 'error', number>
}

/** A store that passes operations on to another store, and counts their outcomes. */
export class CountedStore implements Store {
  readonly counts: OperationCounts = {
    get: { hit: 0, miss: 0, error: 0 },
    put: { created: 0, replaced: 0, precondition_failed: 0, full: 0, error: 0 },
    delete: { deleted: 0, miss: 0, precondition_failed: 0, error: 0 },
    list: { hit: 0, miss: 0, error: 0 },
  }
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  get engine(): string {
    return this.#store.engine
  }

  get trouble(): string | undefined {
    return this.#store.trouble
  }

  get(id: string, select?: Select): MaybePromise<StoredObject | undefined> {
    return count(this.counts.get, () => this.#store.get(id, select), found)
  }

  /** Counts as a get. */
  describe(id: string): MaybePromise<ObjectDescription | undefined> {
    return count(this.counts.get, () => this.#store.describe(id), found)
  }

  /** If the preconditions fail, it counts as a put, because no put follows. */
  check(id: string, preconditions: Preconditions): MaybePromise<boolean> {
    const outcome = (holds: boolean) => (holds ? undefined : 'precondition_failed')
    return count(this.counts.put, () => this.#store.check(id, preconditions), outcome)
  }

  put(id: string, object: NewObject, preconditions?: Preconditions): MaybePromise<PutOutcome> {
    return count(this.counts.put, () => this.#store.put(id, object, preconditions), same)
  }

  delete(id: string, preconditions?: Preconditions): MaybePromise<DeleteOutcome> {
    return count(this.counts.delete, () => this.#store.delete(id, preconditions), same)
  }

  /** An invalid cursor is an error of the client and does not count. */
  list(options: ListOptions): MaybePromise<Page | undefined> {
    const outcome = (page: Page | undefined) => page && (page.objects.length === 0 ? 'miss' : 'hit')
    return count(this.counts.list, () => this.#store.list(options), outcome)
  }

  reading(object: StoredObject): () => void {
    return this.#store.reading(object)
  }

  /** If there is no room, it counts as a put, because no put follows. */
  reserve(bytes: number): boolean {
    const reserved = this.#store.reserve(bytes)
    if (!reserved) this.counts.put.full++
    return reserved
  }

  release(bytes: number): void {
    this.#store.release(bytes)
  }

  stats(): MaybePromise<StoreStats> {
    return this.#store.stats()
  }

  close(): MaybePromise<void> {
    return this.#store.close()
  }
}

const found = (object: ObjectDescription | undefined) => (object === undefined ? 'miss' : 'hit')

const same = <T>(outcome: T) => outcome

function count<T, O extends string>(
  counts: Record<O | 'error', number>,
  operate: () => MaybePromise<T>,
  outcomeOf: (result: T) => O | undefined,
): MaybePromise<T> {
  const succeed = (result: T) => {
    const outcome = outcomeOf(result)
    if (outcome !== undefined) counts[outcome]++
    return result
  }
  const fail = (error: unknown) => {
    counts.error++
    throw error
  }
  try {
    const result = operate()
    return result instanceof Promise ? result.then(succeed, fail) : succeed(result)
  } catch (error) {
    return fail(error)
  }
}

import type { IncomingHttpHeaders } from 'node:http'
import { type TraceContext, traceContext } from '../http/trace-context.ts'
import type { Exemplar } from './exposition.ts'

/** Upper bounds in seconds: fine up to the 10 ms of the latency objective, coarse beyond. */
export const BUCKETS_SECONDS = [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.05, 0.25, 2.5]

/** The latency objective. A slower answer becomes an exemplar. */
export const SLOW_SECONDS = 0.01

/** The most that the labels of an exemplar may have, names and values together (OpenMetrics 1.0, "Exemplars"). */
const MAX_EXEMPLAR_CHARACTERS = 128

/** The methods of RFC 9110 section 9 and RFC 5789; any other is `_OTHER`, so that clients cannot add labels. */
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'])

/** The label of each bucket. */
const BOUNDS = [...BUCKETS_SECONDS, '+Inf'].map((le) => ({ le }))

interface SeriesLabels {
  readonly method: string
  readonly path: string
  readonly status_code: number
}

/** What an answer remembers of its request. */
interface AnsweredRequest {
  readonly id: string
  readonly headers: IncomingHttpHeaders
  /** Why the answer is a 5xx. */
  readonly failure: string | undefined
}

/** The last answer in a bucket that was slow or a 5xx. One object serves for all of them. */
class NotableAnswer {
  readonly #labels: SeriesLabels
  #requestId = ''
  #trace: TraceContext | undefined
  #failure: string | undefined
  #seconds = 0
  #answeredMs = 0

  constructor(labels: SeriesLabels) {
    this.#labels = labels
  }

  remember({ id, headers, failure }: AnsweredRequest, seconds: number): void {
    this.#requestId = id
    this.#failure = failure
    this.#trace = traceContext(headers)
    this.#seconds = seconds
    this.#answeredMs = Date.now()
  }

  /** Without `request_id` if it is too long; undefined if there is no trace either. */
  get exemplar(): Exemplar | undefined {
    const trace = this.#trace && { trace_id: this.#trace.traceId }
    const all = { request_id: this.#requestId, ...trace }
    const labelSet = Object.entries(all).flat().join('').length > MAX_EXEMPLAR_CHARACTERS ? trace : all
    return labelSet && { labelSet, value: this.#seconds, timestamp: this.#answeredMs / 1000 }
  }

  /** The fields of the answer in the log. */
  get fields(): object {
    const { method, path, status_code } = this.#labels
    const durationMs = Math.round(1e4 * this.#seconds) / 10
    return {
      reqId: this.#requestId,
      ...this.#trace,
      method,
      path,
      statusCode: status_code,
      durationMs,
      cause: this.#failure,
    }
  }
}

class Series {
  readonly labels: SeriesLabels
  /** Observations by bucket, not cumulative; the last one is beyond every bound. */
  readonly counts = new Float64Array(BUCKETS_SECONDS.length + 1)
  readonly notable: (NotableAnswer | undefined)[] = []
  sumSeconds = 0

  constructor(method: string, path: string, statusCode: number) {
    this.labels = { method, path, status_code: statusCode }
  }

  /** Returns the bucket. */
  observe(seconds: number): number {
    let bucket = 0
    while (bucket < BUCKETS_SECONDS.length && seconds > (BUCKETS_SECONDS[bucket] as number)) bucket++
    this.counts[bucket] = (this.counts[bucket] as number) + 1
    this.sumSeconds += seconds
    return bucket
  }

  remember(bucket: number, request: AnsweredRequest, seconds: number): NotableAnswer {
    this.notable[bucket] ??= new NotableAnswer(this.labels)
    this.notable[bucket].remember(request, seconds)
    return this.notable[bucket]
  }
}

/**
 * The `http_request_duration_seconds` histogram, in the shape that a Prometheus registry renders.
 *
 * An observation finds its series by three look-ups and adds to two numbers, where the client library's
 * histogram validates and hashes the labels each time. Everything else is left to the scrape. Each bucket has the
 * last slow answer as its exemplar; the buckets of a 5xx have the last answer.
 */
export class DurationHistogram {
  readonly name = 'http_request_duration_seconds'
  readonly help = 'HTTP request duration in seconds, by method, path and status code'
  readonly type = 'histogram'
  readonly aggregator = 'sum'
  readonly #series = new Set<Series>()
  readonly #unread = new Set<NotableAnswer>()
  readonly #byPath = new Map<string, Map<string, Series[]>>()

  /** Records one answer. A series that was not known begins here; {@link declare} begins it at zero. */
  observe(method: string, path: string, statusCode: number, seconds: number, request: AnsweredRequest): void {
    const known = this.#byPath.get(path)?.get(method)?.[statusCode]
    const series = known ?? this.declare(method, path, statusCode)
    const bucket = series.observe(seconds)
    if (seconds > SLOW_SECONDS || statusCode >= 500)
      this.#unread.add(series.remember(bucket, request, seconds))
  }

  /** Makes a series exist, at zero. */
  declare(method: string, path: string, statusCode: number): Series {
    const label = METHODS.has(method) ? method : '_OTHER'
    const byMethod = this.#byPath.get(path) ?? new Map<string, Series[]>()
    const byStatus = byMethod.get(label) ?? []
    const series = byStatus[statusCode] ?? new Series(label, path, statusCode)
    this.#byPath.set(path, byMethod.set(method, byStatus).set(label, byStatus))
    byStatus[statusCode] = series
    this.#series.add(series)
    return series
  }

  /** For the log: the answers that have become exemplars since the last call. */
  takeNotable(): object[] {
    const answers = Array.from(this.#unread, ({ fields }) => fields)
    this.#unread.clear()
    return answers
  }

  /** What the registry asks for at a scrape. */
  async get() {
    const { name, help, type, aggregator } = this
    return {
      name,
      help,
      type,
      aggregator,
      values: [...this.#series].flatMap((series) => samples(name, series)),
    }
  }
}

function samples(name: string, { labels, counts, notable, sumSeconds }: Series) {
  let count = 0
  const buckets = BOUNDS.map((bound, bucket) => {
    count += counts[bucket] as number
    return {
      metricName: `${name}_bucket`,
      labels: bound,
      sharedLabels: labels,
      value: count,
      exemplar: notable[bucket]?.exemplar,
    }
  })
  return [
    ...buckets,
    { metricName: `${name}_sum`, sharedLabels: labels, value: sumSeconds },
    { metricName: `${name}_count`, sharedLabels: labels, value: count },
  ]
}

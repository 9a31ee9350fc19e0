import type { IncomingHttpHeaders } from 'node:http'
import { type TraceContext, traceContext } from '../http/trace-context.ts'
import type { Exemplar } from './exposition.ts'

/** Upper bounds in seconds: fine up to the 10 ms of the latency objective, coarse beyond. */
export const BUCKETS_SECONDS = [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.05, 0.25, 2.5]

/** The latency objective, in seconds. A slower response becomes an exemplar. */
export const SLOW_SECONDS = 0.01

/**
 * The maximum length of an exemplar's labels, names and values together (OpenMetrics 1.0,
 * "Exemplars").
 */
const MAX_EXEMPLAR_CHARACTERS = 128

/**
 * The methods of RFC 9110 section 9 and RFC 5789; any other is `_OTHER`, so that clients cannot add
 * labels.
 */
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'])

/** The label of each bucket. */
const BOUNDS = [...BUCKETS_SECONDS, '+Inf'].map((le) => ({ le }))

interface SeriesLabels {
  readonly method: string
  readonly path: string
  readonly status_code: number
}

/** What an exemplar and its log line need of the request. */
interface AnsweredRequest {
  readonly id: string
  readonly headers: IncomingHttpHeaders
  /** Why the response is a 5xx. */
  readonly failure: string | undefined
}

/** The last response in a bucket that was slow or a 5xx. The next one overwrites it. */
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

  /** It has no `request_id` if that is too long. Undefined if there is no trace id either. */
  get exemplar(): Exemplar | undefined {
    const trace = this.#trace && { trace_id: this.#trace.traceId }
    const all = { request_id: this.#requestId, ...trace }
    const labelSet = Object.entries(all).flat().join('').length > MAX_EXEMPLAR_CHARACTERS ? trace : all
    return labelSet && { labelSet, value: this.#seconds, timestamp: this.#answeredMs / 1000 }
  }

  /** The response's fields in the log. */
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
  /**
   * The number of observations in each bucket, not cumulative. The last bucket has no upper bound.
   */
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
 * An observation needs three look-ups to find its series and two additions. The client library's
 * histogram validates and hashes the labels each time. The scrape does everything else. The
 * exemplar of a bucket is its last slow response, or for a 5xx its last response.
 */
export class DurationHistogram {
  readonly name = 'http_request_duration_seconds'
  readonly help = 'HTTP request duration in seconds, by method, path and status code'
  readonly type = 'histogram'
  readonly aggregator = 'sum'
  readonly #series = new Set<Series>()
  readonly #unread = new Set<NotableAnswer>()
  readonly #byPath = new Map<string, Map<string, Series[]>>()

  /**
   * Records one response. The first response of a series creates it; {@link declare} creates it
   * earlier, at zero.
   */
  observe(method: string, path: string, statusCode: number, seconds: number, request: AnsweredRequest): void {
    const known = this.#byPath.get(path)?.get(method)?.[statusCode]
    const series = known ?? this.declare(method, path, statusCode)
    const bucket = series.observe(seconds)
    if (seconds > SLOW_SECONDS || statusCode >= 500)
      this.#unread.add(series.remember(bucket, request, seconds))
  }

  /** Creates a series at zero, unless it exists. */
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

  /** The log fields of the responses that have become exemplars since the last call. */
  takeNotable(): object[] {
    const answers = Array.from(this.#unread, ({ fields }) => fields)
    this.#unread.clear()
    return answers
  }

  /** Called by the registry at a scrape. */
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

/** Upper bounds in seconds: fine up to the 10 ms of the latency objective, coarse beyond. */
export const BUCKETS_SECONDS = [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.05, 0.25, 2.5]

/** The methods of RFC 9110 section 9 and RFC 5789; any other is `_OTHER`, so that clients cannot add labels. */
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'])

/** The label of each bucket. */
const BOUNDS = [...BUCKETS_SECONDS, '+Inf'].map((le) => ({ le }))

class Series {
  readonly labels: { method: string; path: string; status_code: number }
  /** Observations by bucket, not cumulative; the last one is beyond every bound. */
  readonly counts = new Float64Array(BUCKETS_SECONDS.length + 1)
  sumSeconds = 0

  constructor(method: string, path: string, statusCode: number) {
    this.labels = { method, path, status_code: statusCode }
  }

  observe(seconds: number): void {
    let bucket = 0
    while (bucket < BUCKETS_SECONDS.length && seconds > (BUCKETS_SECONDS[bucket] as number)) bucket++
    this.counts[bucket] = (this.counts[bucket] as number) + 1
    this.sumSeconds += seconds
  }
}

/**
 * The `http_request_duration_seconds` histogram, in the shape that a Prometheus registry renders.
 *
 * An observation finds its series by three look-ups and adds to two numbers, where the client library's
 * histogram validates and hashes the labels each time. Everything else is left to the scrape.
 */
export class DurationHistogram {
  readonly name = 'http_request_duration_seconds'
  readonly help = 'HTTP request duration in seconds, by method, path and status code'
  readonly type = 'histogram'
  readonly aggregator = 'sum'
  readonly #series = new Set<Series>()
  readonly #byPath = new Map<string, Map<string, Series[]>>()

  /** Records one answer. A series that was not known begins here; {@link declare} begins it at zero. */
  observe(method: string, path: string, statusCode: number, seconds: number): void {
    const known = this.#byPath.get(path)?.get(method)?.[statusCode]
    const series = known ?? this.declare(method, path, statusCode)
    series.observe(seconds)
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

function samples(name: string, { labels, counts, sumSeconds }: Series) {
  let count = 0
  const buckets = BOUNDS.map((bound, bucket) => {
    count += counts[bucket] as number
    return { metricName: `${name}_bucket`, labels: bound, sharedLabels: labels, value: count }
  })
  return [
    ...buckets,
    { metricName: `${name}_sum`, sharedLabels: labels, value: sumSeconds },
    { metricName: `${name}_count`, sharedLabels: labels, value: count },
  ]
}

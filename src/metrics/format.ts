import Negotiator from 'negotiator'

/** Prometheus' text format 0.0.4, as a media type. */
export const TEXT = 'text/plain; version=0.0.4; charset=utf-8'

/** OpenMetrics 1.0, as a media type. */
export const OPENMETRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

/** Scrapers send at most 250 characters. Parsing 16 KiB would take 6 ms. */
const MAX_ACCEPT_LENGTH = 1024

/**
 * How Prometheus 3 wants unusual names to be escaped. Here every name is
 * `[a-zA-Z_:][a-zA-Z0-9_:]*`.
 */
const ESCAPING = /;\s*escaping=[^;,]*/gi

/**
 * The format that the client's `Accept` prefers (RFC 9110 section 12.5.1): OpenMetrics or the text
 * format. It is the text format if the client has no preference, or accepts neither.
 */
export function preferredFormat(accept = ''): string {
  if (accept.length > MAX_ACCEPT_LENGTH) return TEXT
  const headers = { accept: accept.replace(ESCAPING, '') }
  return new Negotiator({ headers }).mediaType([TEXT, OPENMETRICS]) ?? TEXT
}

import Negotiator from 'negotiator'

/** Prometheus' text format 0.0.4, as a media type. */
export const TEXT = 'text/plain; version=0.0.4; charset=utf-8'

/** OpenMetrics 1.0, as a media type. */
export const OPENMETRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

/** Scrapers send 250 characters at most. 16 KiB would take 6 ms to parse. */
const MAX_ACCEPT_LENGTH = 1024

/** How Prometheus 3 wants names escaped that are not `[a-zA-Z_:][a-zA-Z0-9_:]*`. Every name here is. */
const ESCAPING = /;\s*escaping=[^;,]*/gi

/**
 * The format that a client prefers, by its `Accept` (RFC 9110 section 12.5.1): OpenMetrics, or the text format. A client
 * gets the text format too if it prefers neither, or accepts neither.
 */
export function preferredFormat(accept = ''): string {
  if (accept.length > MAX_ACCEPT_LENGTH) return TEXT
  const headers = { accept: accept.replace(ESCAPING, '') }
  return new Negotiator({ headers }).mediaType([TEXT, OPENMETRICS]) ?? TEXT
}

import type { IncomingHttpHeaders } from 'node:http'

/** The trace of a request and the span of its client: 32 and 16 hexadecimal digits. */
export interface TraceContext {
  readonly traceId: string
  readonly spanId: string
}

/** Version 00 of `traceparent` (W3C Trace Context, section 3.2). An id of zeros is invalid. */
const TRACEPARENT = /^00-(?!0{32})([\da-f]{32})-(?!0{16})([\da-f]{16})-[\da-f]{2}$/

/**
 * The trace context of a request. Undefined if it has none. An invalid one is ignored (section
 * 3.2.2).
 */
export function traceContext({ traceparent }: IncomingHttpHeaders): TraceContext | undefined {
  if (traceparent === undefined) return undefined
  const [, traceId, spanId] = TRACEPARENT.exec(`${traceparent}`) ?? []
  return traceId === undefined || spanId === undefined ? undefined : { traceId, spanId }
}

import type { IncomingHttpHeaders } from 'node:http'

/** Which trace a request belongs to, and which span of its client has sent it: 32 and 16 hexadecimal digits. */
export interface TraceContext {
  readonly traceId: string
  readonly spanId: string
}

/** Version 00 of `traceparent` (W3C Trace Context, section 3.2). Ids of zeros are invalid. */
const TRACEPARENT = /^00-(?!0{32})([\da-f]{32})-(?!0{16})([\da-f]{16})-[\da-f]{2}$/

/** The trace context of a request; undefined if it has none, or an invalid one, which is ignored (section 3.2.2). */
export function traceContext({ traceparent }: IncomingHttpHeaders): TraceContext | undefined {
  if (traceparent === undefined) return undefined
  const [, traceId, spanId] = TRACEPARENT.exec(`${traceparent}`) ?? []
  return traceId === undefined || spanId === undefined ? undefined : { traceId, spanId }
}

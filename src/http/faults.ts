/** A fault that is injected on purpose: `FAULTS`. */
export interface Fault {
  /** As it was given, `DELETE=500@0.3`. */
  text: string
  /** A method of the storage routes, or `*` for all of them. */
  method: string
  /** The status code in the place of a success, or undefined for a delay. */
  statusCode: number | undefined
  /** How long the request waits before anything else, in milliseconds. */
  delayMs: number
  /** The share of the method's requests that it strikes, from 0 to 1. */
  probability: number
}

const FAULT =
  '(GET|HEAD|PUT|DELETE|\\*)=(?:(50[0234]|507)|delay:([1-9]\\d{0,3}|[1-5]\\d{4}|60000)ms)@(0(?:\\.\\d{1,6})?|1)'

/** What `FAULTS` may be. */
export const FAULTS = RegExp(`^${FAULT}(?:,${FAULT})*$`)

/** The same in words. */
export const FAULTS_ALLOWED =
  'METHOD=FAULT@PROBABILITY, or several separated by commas: GET, HEAD, PUT, DELETE or *; a status of 500, 502, 503, 504 or 507, or delay:1ms to delay:60000ms; 0 to 1'

/** Reads what {@link FAULTS} matches. */
export function parseFaults(faults: string): Fault[] {
  return [...faults.matchAll(RegExp(FAULT, 'g'))].map(
    ([text, method = '', statusCode, delayMs = 0, probability]) => ({
      text,
      method,
      statusCode: statusCode === undefined ? undefined : Number(statusCode),
      delayMs: Number(delayMs),
      probability: Number(probability),
    }),
  )
}

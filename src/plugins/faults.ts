import { Counter, Gauge } from '@prometheus-io/client'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'

/** A fault that is injected on purpose: `FAULTS`. */
export interface Fault {
  /** The setting's text, such as `DELETE=500@0.3`. */
  text: string
  /** A method of the storage routes, or `*` for all of them. */
  method: string
  /** The status code that replaces a success. Undefined for a delay. */
  statusCode: number | undefined
  /** How long the request waits first, in milliseconds. */
  delayMs: number
  /** The share of the method's requests that have the fault, from 0 to 1. */
  probability: number
}

const FAULT =
  '(GET|HEAD|PUT|DELETE|\\*)=(?:(50[0234]|507)|delay:([1-9]\\d{0,3}|[1-5]\\d{4}|60000)ms)@(0(?:\\.\\d{1,6})?|1)'

/** The syntax of the setting `FAULTS`. */
export const FAULTS = RegExp(`^${FAULT}(?:,${FAULT})*$`)

/** The same in words. */
export const FAULTS_ALLOWED =
  'METHOD=FAULT@PROBABILITY, or several separated by commas: GET, HEAD, PUT, DELETE or *; a status of 500, 502, 503, 504 or 507, or delay:1ms to delay:60000ms; 0 to 1'

/** Reads a text that matches {@link FAULTS}. */
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

/** Replaces a success. Fastify sends its status code, and the log says which fault it was. */
class InjectedFaultError extends Error {
  override name = 'InjectedFaultError'
  readonly statusCode: number | undefined

  constructor({ text, statusCode }: Fault) {
    super(`fault injected: ${text}`)
    this.statusCode = statusCode
  }
}

/** The headers that remain when a fault replaces the response. */
const KEPT_HEADERS = new Set(['x-request-id', 'connection'])

const plugin: FastifyPluginAsync = async (app) => {
  const faults = app.config.FAULTS
  new Gauge({
    name: 'storage_api_faults',
    help: 'Faults that the setting FAULTS injects on purpose, 0 without a drill',
    registers: [app.registry],
  }).set(faults.length)
  const injected = new Counter({
    name: 'storage_api_faults_injected_total',
    help: 'Requests that FAULTS has made fail or wait',
    registers: [app.registry],
  })
  if (faults.length === 0) return
  app.log.warn({ faults: faults.map(({ text }) => text) }, 'this is a drill: FAULTS makes requests fail')

  /** The first of some faults that strikes a request. */
  function striking(among: Fault[], method: string): Fault | undefined {
    const fault = among.find(
      (fault) => (fault.method === method || fault.method === '*') && Math.random() < fault.probability,
    )
    if (fault !== undefined) injected.inc()
    return fault
  }

  const delays = faults.filter(({ statusCode }) => statusCode === undefined)
  app.addHook('onRequest', (request, _reply, done) => {
    const fault = striking(delays, request.method)
    if (fault === undefined) done()
    else setTimeout(done, fault.delayMs)
  })

  const failures = faults.filter(({ statusCode }) => statusCode !== undefined)
  app.addHook('onSend', (request, reply, payload, done) => {
    // An error response stays as it is.
    const fault = reply.statusCode < 400 ? striking(failures, request.method) : undefined
    if (fault === undefined) return done(null, payload)
    for (const name of Object.keys(reply.getHeaders())) if (!KEPT_HEADERS.has(name)) reply.removeHeader(name)
    done(new InjectedFaultError(fault))
  })
}

/**
 * The drill: makes requests of its scope fail or wait on purpose, as `FAULTS` says. A failure
 * replaces the response to a request that has succeeded, as in the former service, which answered
 * 500 to every successful DELETE. Without `FAULTS` the plugin adds no hook.
 */
export default fp(plugin, { name: 'faults', dependencies: ['config', 'metrics'] })

import { Counter, Gauge } from '@prometheus-io/client'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { InjectedFaultError } from '../http/errors.ts'
import type { Fault } from '../http/faults.ts'

/** What an answer keeps of its headers when a fault takes its place. */
const KEPT_HEADERS = new Set(['x-request-id', 'connection'])

const plugin: FastifyPluginAsync = async (app) => {
  const faults = app.config.FAULTS
  new Gauge({
    name: 'storage_api_faults',
    help: 'Faults that FAULTS injects on purpose: 0 unless this is a drill',
    registers: [app.registry],
  }).set(faults.length)
  const injected = new Counter({
    name: 'storage_api_faults_injected_total',
    help: 'Requests that FAULTS has made fail or wait',
    registers: [app.registry],
  })
  if (faults.length === 0) return
  app.log.warn({ faults: faults.map(({ text }) => text) }, 'this is a drill: FAULTS makes requests fail')

  /** The first fault of some that strikes a request. */
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
    // What fails anyway fails as it would.
    const fault = reply.statusCode < 400 ? striking(failures, request.method) : undefined
    if (fault === undefined) return done(null, payload)
    for (const name of Object.keys(reply.getHeaders())) if (!KEPT_HEADERS.has(name)) reply.removeHeader(name)
    done(new InjectedFaultError(fault))
  })
}

/**
 * Makes requests of its scope fail or wait on purpose, as `FAULTS` says: the drill. A failure takes the place of a
 * success when the request has been acted on, as in the service that answered 500 to every DELETE. Without `FAULTS`
 * no request passes through here.
 */
export default fp(plugin, { name: 'faults', dependencies: ['config', 'metrics'] })

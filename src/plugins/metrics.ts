import * as client from '@prometheus-io/client'
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifySchema, RouteOptions } from 'fastify'
import fastifyMetrics from 'fastify-metrics'
import fp from 'fastify-plugin'
import { DurationHistogram } from '../metrics/duration-histogram.ts'
import { recordEventLoopDelays, registerEventLoopLag } from '../metrics/event-loop-lag.ts'
import { writePage } from '../metrics/exposition.ts'
import { preferredFormat } from '../metrics/format.ts'
import { logNotableAnswers } from '../metrics/notable-log.ts'

/**
 * Routes for probes, scrapes and people. Their requests would hide the traffic that the histogram
 * is for.
 */
const UNMEASURED_PATH = /^\/(?:$|(?:metrics|livez|readyz|openapi\.json|docs)(?:\/|$))/

/**
 * Default metrics that are left out. `promtool check metrics` must exit 0, and it rejects gauges
 * whose names end in `_total`. A dashboard that wants them can take the sum of
 * `nodejs_active_resources`, which is here. The event loop has its own metrics (event-loop-lag.ts).
 */
const LEFT_OUT = /^nodejs_(?:active_\w+_total|eventloop_\w+)$/

/**
 * The longest interval of a timer, in milliseconds. Metrics that are left out are sampled at this
 * interval.
 */
const NEVER_MS = 2 ** 31 - 1

const page = { schema: { type: 'string' } }

const pageSchema: FastifySchema = {
  tags: ['operations'],
  operation: 'getMetrics',
  summary: 'Read metrics in OpenMetrics or in the text format of Prometheus',
  response: {
    200: {
      description: 'The metrics, in the format that Accept prefers',
      headers: { Vary: { type: 'string', const: 'Accept' } },
      content: { 'text/plain': page, 'application/openmetrics-text': page },
    },
  },
}

declare module 'fastify' {
  interface FastifyInstance {
    /** The metrics of this application. Two applications in one process do not share them. */
    registry: client.Registry
  }
  interface FastifyRequest {
    /**
     * The `path` label of the request. It is read at the beginning, because a plugin may call
     * `callNotFound` later.
     */
    measuredPath: string | undefined
  }
}

/** The route's template, never the URL. Undefined if the route is not measured. */
function measuredPath(path = 'unmatched'): string | undefined {
  return UNMEASURED_PATH.test(path) ? undefined : path
}

function measureRequests(app: FastifyInstance): void {
  const durations = new DurationHistogram()
  app.registry.registerMetric(durations as unknown as client.Metric)

  const stopLogging = logNotableAnswers(app.log, durations)
  app.addHook('onClose', async () => stopLogging())

  let inFlight = 0
  new client.Gauge({
    name: 'http_requests_in_flight',
    help: 'HTTP requests that have begun and have no complete response yet',
    registers: [app.registry],
    collect() {
      this.set(inFlight)
    },
  })

  const { connections, sockets } = app
  new client.Gauge({
    name: 'http_connections',
    help: 'Open connections of HTTP clients',
    registers: [app.registry],
    collect() {
      this.set(sockets.count)
    },
  })
  new client.Counter({
    name: 'http_connections_closed_total',
    help: 'Connections that the server has closed: too many were open (limit), no request came (idle), or a request took too long (timeout)',
    labelNames: ['reason'],
    registers: [app.registry],
    collect() {
      this.reset()
      for (const [reason, times] of Object.entries(sockets.closed)) this.inc({ reason }, times)
    },
  })

  const routes: RouteOptions[] = []
  app.addHook('onRoute', (route) => void routes.push(route))
  app.addHook('onReady', async () => {
    for (const { method, url, schema } of routes) {
      if (measuredPath(url) === undefined) continue
      for (const status of Object.keys(schema?.response ?? {})) {
        for (const name of [method].flat()) durations.declare(name, url, Number(status))
      }
    }
  })
  app.decorateRequest('measuredPath', undefined)
  app.addHook('onRequest', (request, _reply, done) => {
    request.measuredPath = measuredPath(request.routeOptions.url)
    if (request.measuredPath !== undefined) inFlight++
    done()
  })
  app.addHook('onResponse', (_request, reply, done) => {
    end(reply, reply.statusCode)
    done()
  })
  connections.onAbort(end)

  function end(reply: FastifyReply, statusCode: number): void {
    const { method, measuredPath } = reply.request
    if (measuredPath === undefined) return
    inFlight--
    durations.observe(method, measuredPath, statusCode, reply.elapsedTime / 1000, reply.request)
  }
}

const plugin: FastifyPluginAsync = async (app) => {
  const registry = new client.Registry()
  app.decorate('registry', registry)
  await app.register(fastifyMetrics.default, {
    promClient: { ...client, register: registry } as typeof client,
    defaultMetrics: {
      enabled: true,
      register: registry,
      eventLoopMonitoringPrecision: NEVER_MS,
      eventLoopUtilizationTimeout: NEVER_MS,
    },
    routeMetrics: { enabled: false },
    // The plugin's page has one format only.
    endpoint: null,
  })
  app.get('/metrics', { schema: pageSchema }, async (request, reply) => {
    const format = preferredFormat(request.headers.accept)
    reply.headers({ 'content-type': format, vary: 'Accept' })
    return writePage(await registry.getMetricsAsJSON(), format)
  })
  for (const { name } of registry.getMetricsAsArray())
    if (LEFT_OUT.test(name)) registry.removeSingleMetric(name)
  const delays = recordEventLoopDelays()
  registerEventLoopLag(registry, delays)
  app.addHook('onClose', async () => delays.disable())
  measureRequests(app)
  new client.Gauge({
    name: 'storage_api_build_info',
    help: 'The running release, always 1',
    labelNames: ['version', 'revision', 'node_version', 'engine'],
    registers: [registry],
  }).set(
    {
      version: app.config.VERSION,
      revision: app.config.REVISION,
      node_version: process.version,
      engine: app.config.STORAGE.engine,
    },
    1,
  )
}

/**
 * Serves `/metrics`, and measures every request, whether it is answered (`onResponse`) or not
 * (`connections`). Decorates the application with `registry`.
 */
export default fp(plugin, { name: 'metrics', dependencies: ['config', 'connections', 'errors'] })

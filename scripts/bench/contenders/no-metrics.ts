import { Registry } from '@prometheus-io/client'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'

const plugin: FastifyPluginAsync = async (app) => {
  app.decorate('registry', new Registry())
  app.decorateRequest('measuredPath', undefined)
}

/** A registry that nobody reads, for plugins that register metrics. */
export default fp(plugin, { name: 'metrics' })

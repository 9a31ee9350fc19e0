import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'

function createLifecycle() {
  return { draining: false }
}

declare module 'fastify' {
  interface FastifyInstance {
    lifecycle: ReturnType<typeof createLifecycle>
    /** Begins to send clients away: not ready any more, and `Connection: close` on every answer. */
    drain: () => void
  }
}

const plugin: FastifyPluginAsync = async (app) => {
  const lifecycle = createLifecycle()
  app.decorate('lifecycle', lifecycle)
  app.decorate('drain', () => {
    lifecycle.draining = true
    for (const reply of app.connections.replies()) {
      if (!reply.raw.headersSent) reply.raw.setHeader('connection', 'close')
    }
    // Ahead of Fastify's own listener, and costs nothing until now.
    app.server.prependListener('request', (_request, response) => response.setHeader('connection', 'close'))
  })
}

/** Says whether this process still wants traffic: `lifecycle.draining`, which `drain` sets. */
export default fp(plugin, { name: 'lifecycle', dependencies: ['connections'] })

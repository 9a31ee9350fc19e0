import type { Server } from 'node:http'
import { setImmediate } from 'node:timers/promises'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'

/** The listening ends when no connection has come for so long, in milliseconds, or after so long at the most. */
const QUIET_MS = 10
const MAX_STOPPING_MS = 250

/** How long a connection that is open when the listening ends may take to send its request, in milliseconds. */
const LAST_REQUEST_MS = 500

function createLifecycle() {
  return { draining: false }
}

/**
 * Stops listening when no connection waits in the kernel's queue: closing resets those, after their clients have
 * sent their requests.
 */
async function stopListening(server: Server): Promise<void> {
  const start = performance.now()
  let last = start
  server.on('connection', () => {
    last = performance.now()
  })
  do await setImmediate()
  while (performance.now() < Math.min(last + QUIET_MS, start + MAX_STOPPING_MS))
  server.close()
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

  // Requests wait for the few milliseconds that it takes: each answer would bring its client back into the queue.
  let stopping: Promise<void> | undefined
  app.addHook('onRequest', (_request, _reply, done) => {
    if (stopping === undefined) done()
    else stopping.then(() => done())
  })
  app.addHook('preClose', async () => {
    stopping = stopListening(app.server)
    await stopping
    stopping = undefined
    setTimeout(() => app.connections.destroyIdle(), LAST_REQUEST_MS).unref()
  })

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

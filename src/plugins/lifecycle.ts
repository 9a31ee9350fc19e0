import type { Server } from 'node:http'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'

/** The listening ends after so many turns of a millisecond in which no connection came, or after so many milliseconds. */
const QUIET_TURNS = 10
const MAX_STOPPING_MS = 1000

/** How often connections without a request are closed once the listening has ended, in milliseconds. */
const IDLE_MS = 500

/**
 * Stops listening when no connection waits in the kernel's queue: closing resets those, after their clients have
 * sent their requests.
 */
async function stopListening(server: Server): Promise<void> {
  const deadline = performance.now() + MAX_STOPPING_MS
  let accepted = false
  server.on('connection', () => {
    accepted = true
  })
  // Turns of the event loop, not time alone: a process that was not running has not seen who came.
  for (let quietTurns = 0; quietTurns < QUIET_TURNS && performance.now() < deadline; quietTurns++) {
    await sleep(1)
    await setImmediate()
    if (accepted) quietTurns = -1
    accepted = false
  }
  server.close()
}

declare module 'fastify' {
  interface FastifyInstance {
    lifecycle: {
      /** Whether this process wants no more traffic. */
      readonly draining: boolean
      /** Begins to send clients away: not ready any more, and `Connection: close` on every answer. */
      drain(): void
    }
  }
}

const plugin: FastifyPluginAsync = async (app) => {
  // Node.js would take an answer that is still being read by its client for idle, and cut it.
  app.server.closeIdleConnections = () => {}

  // Requests wait for the few milliseconds that it takes: each answer would bring its client back into the queue.
  let stopping: Promise<void> | undefined
  app.addHook('onRequest', (_request, _reply, done) => {
    if (stopping === undefined) done()
    else stopping.then(() => done())
  })
  app.addHook('preClose', async () => {
    if (!app.server.listening) return
    stopping = stopListening(app.server)
    await stopping
    stopping = undefined
    const timer = setInterval(() => app.sockets.destroyIdle(), IDLE_MS)
    app.server.once('close', () => clearInterval(timer))
  })

  const lifecycle = {
    draining: false,
    drain() {
      lifecycle.draining = true
      for (const reply of app.connections.replies()) {
        if (!reply.raw.headersSent) reply.raw.setHeader('connection', 'close')
      }
      // Ahead of Fastify's own listener, and costs nothing until now.
      app.server.prependListener('request', (_request, response) => response.setHeader('connection', 'close'))
    },
  }
  app.decorate('lifecycle', lifecycle)
}

/** Sends clients away when the process is to end, and stops listening without losing one. Decorates `lifecycle`. */
export default fp(plugin, { name: 'lifecycle', dependencies: ['connections'] })

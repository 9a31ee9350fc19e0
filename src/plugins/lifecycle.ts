import type { Server } from 'node:http'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'

/**
 * Listening ends after this many turns of 1 ms in which no connection arrives, or after this many
 * milliseconds.
 */
const QUIET_TURNS = 10
const MAX_STOPPING_MS = 1000

/** How often idle connections are closed after listening has ended, in milliseconds. */
const IDLE_MS = 500

/**
 * Stops listening when no connection waits in the kernel's queue. Closing the server resets these
 * connections, although their clients may have sent a request.
 */
async function stopListening(server: Server): Promise<void> {
  const deadline = performance.now() + MAX_STOPPING_MS
  let accepted = false
  server.on('connection', () => {
    accepted = true
  })
  // Turns of the event loop count, and not only time, because a paused process accepts no
  // connection.
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
      /** Whether the process is shutting down and wants no more traffic. */
      readonly draining: boolean
      /**
       * Starts to send clients away: `/readyz` is 503, and every response has `Connection: close`.
       */
      drain(): void
    }
  }
}

const plugin: FastifyPluginAsync = async (app) => {
  // Node.js would treat a connection as idle while its client still reads a response, and close it.
  app.server.closeIdleConnections = () => {}

  // New requests wait for these few milliseconds, because after each response its client could
  // enter the queue again.
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
      // This listener runs before Fastify's, and costs nothing until now.
      app.server.prependListener('request', (_request, response) => response.setHeader('connection', 'close'))
    },
  }
  app.decorate('lifecycle', lifecycle)
}

/**
 * Sends clients away at shutdown, and stops listening without losing a request. Decorates the
 * application with `lifecycle`.
 */
export default fp(plugin, { name: 'lifecycle', dependencies: ['connections'] })

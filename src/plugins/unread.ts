import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { UNREAD } from '../http/one-write-response.ts'

/**
 * The limit of response bytes that wait for slow clients, over all connections. The largest
 * response is a page of a listing, 1 MB.
 */
export const MAX_UNREAD_BYTES = 32 * 2 ** 20

/**
 * The memory of a response from a file, in bytes: the bytes read ahead, and the bytes that wait in
 * the connection.
 */
const STREAM_BYTES = 128 * 2 ** 10

declare module 'fastify' {
  interface FastifyContextConfig {
    /**
     * The route sends bytes of the store, and reports to the store while a client reads them. They
     * do not count here.
     */
    sendsStored?: boolean
  }
}

const plugin: FastifyPluginAsync = async (app) => {
  const { connections, sockets } = app
  // Even if all responses are short, at most half of the connections may wait for clients that do
  // not read.
  const leastBytes = Math.min(MAX_UNREAD_BYTES, (2 * MAX_UNREAD_BYTES) / app.config.MAX_CONNECTIONS)
  const timeoutMs = app.config.RESPONSE_TIMEOUT_SECONDS * 1000
  /** The number of unread bytes of each connection. The one that has waited longest comes first. */
  const unread = new Map<Socket, number>()
  let unreadBytes = 0

  function release(socket: Socket): void {
    unreadBytes -= unread.get(socket) ?? 0
    unread.delete(socket)
  }

  function hold(socket: Socket, bytes: number): () => void {
    unread.set(socket, bytes)
    unreadBytes += bytes
    for (const [longest] of unread) {
      if (unreadBytes <= MAX_UNREAD_BYTES) break
      release(longest)
      sockets.cutAtLimit(longest, 'too many bytes are unread')
    }
    return () => release(socket)
  }

  app.server.on(UNREAD, (response: ServerResponse, socket: Socket, isWhole: boolean) => {
    const bytes = isWhole ? Math.max(socket.writableLength, leastBytes) : STREAM_BYTES
    const { sendsStored } = connections.current(socket)?.routeOptions.config ?? {}
    const free = sendsStored ? undefined : hold(socket, bytes)
    const timeout = setTimeout(() => sockets.cut(socket, 'timeout'), timeoutMs)
    response.once('close', () => {
      clearTimeout(timeout)
      free?.()
    })
  })
}

/**
 * Limits unread responses of every route: the bytes over all connections, and the time. If there
 * are too many bytes, the connection that has waited longest is closed.
 */
export default fp(plugin, { name: 'unread', dependencies: ['config', 'connections'] })

import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { UNREAD } from '../http/one-write-response.ts'

/** The most bytes of answers that wait for slow clients, over all connections. The largest is a page of a listing, 1 MB. */
export const MAX_UNREAD_BYTES = 32 * 2 ** 20

/** The memory of an answer that is read from a file: the bytes read ahead, and the bytes that wait in the connection. */
const STREAM_BYTES = 128 * 2 ** 10

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route sends what the store keeps, and tells the store itself while a client reads it: the limit leaves it out. */
    sendsStored?: boolean
  }
}

const plugin: FastifyPluginAsync = async (app) => {
  const { connections, sockets } = app
  // However short the answers are, half of the connections do not wait for clients that do not read.
  const leastBytes = Math.min(MAX_UNREAD_BYTES, (2 * MAX_UNREAD_BYTES) / app.config.MAX_CONNECTIONS)
  const timeoutMs = app.config.RESPONSE_TIMEOUT_SECONDS * 1000
  /** How many bytes of each answer wait, the one that has waited longest first. */
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
 * Bounds what clients do not read of answers, of every route: the bytes over all connections, and the time. Where there are too
 * many bytes, the answer that has waited longest gives way, with its connection.
 */
export default fp(plugin, { name: 'unread', dependencies: ['config', 'connections'] })

import { METHODS } from 'node:http'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { methodNotAllowed } from '../errors.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** To be called after the last route: gives each path an answer to the methods that it has none for. */
    answerOtherMethods: () => void
  }
}

const plugin: FastifyPluginAsync = async (app) => {
  // Fastify knows a few methods, and parses bodies by their media type. Here every method is known, and none
  // has its body parsed: the one route that wants it reads the bytes itself.
  const methods = METHODS.filter((method) => method !== 'CONNECT')
  for (const method of methods) app.addHttpMethod(method, { hasBody: false, overrideExisting: true })

  const allowed = new Map<string, Set<string>>()
  app.addHook('onRoute', ({ url, method }) => {
    const known = allowed.get(url) ?? new Set(['OPTIONS'])
    allowed.set(url, known)
    for (const name of [method].flat()) known.add(name)
  })

  app.decorate('answerOtherMethods', () => {
    for (const [url, known] of [...allowed]) {
      const allow = [...known].sort().join(', ')
      app.options(url, { schema: { response: { 204: {} } } }, (_request, reply) => {
        reply.code(204).header('allow', allow).send()
      })
      const others = methods.filter((method) => !known.has(method))
      app.route({
        method: others,
        url,
        handler: (_request, reply) => {
          reply.header('allow', allow)
          throw methodNotAllowed(allow)
        },
      })
    }
  })
}

/** 405 and OPTIONS: a path tells which methods it knows (RFC 9110 sections 15.5.6 and 9.3.7). */
export default fp(plugin, { name: 'methods' })

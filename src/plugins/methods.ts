import { METHODS } from 'node:http'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { methodNotAllowed, notFound } from '../http/errors.ts'
import { ASTERISK } from './protocol.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * Adds routes for all other methods of each path. Call it once, after the last route. Otherwise
     * the start fails. No scope may have a prefix.
     */
    answerOtherMethods: () => void
  }
}

const plugin: FastifyPluginAsync = async (app) => {
  // Fastify supports a few methods by default, and parses bodies by their media type. Here every
  // method is supported, and no body is parsed: the only route with a body reads the bytes itself.
  const methods = METHODS.filter((method) => method !== 'CONNECT')
  for (const method of methods) app.addHttpMethod(method, { hasBody: false, overrideExisting: true })

  /** The methods of each path, and the scope whose hooks apply to it. */
  const paths = new Map<string, { scope: FastifyInstance; known: Set<string> }>()
  let isComplete = false
  app.addHook('onRoute', function ({ url, method }) {
    if (isComplete) throw new Error(`${url} must be registered before answerOtherMethods is called`)
    const path = paths.get(url) ?? { scope: this, known: new Set(['OPTIONS']) }
    paths.set(url, path)
    for (const name of [method].flat()) path.known.add(name)
  })

  const list = (methods: Set<string>) => [...methods].sort().join(', ')
  const anywhere = new Set<string>()
  app.setNotFoundHandler(({ raw }, reply) => {
    if (raw.method !== 'OPTIONS' || raw.url !== ASTERISK) return reply.refuse(notFound)
    reply.code(204).header('allow', list(anywhere)).send()
  })

  app.addHook('onReady', async () => {
    if (!isComplete) throw new Error('answerOtherMethods must be called after the last route')
  })
  app.decorate('answerOtherMethods', () => {
    for (const [url, { scope, known }] of [...paths]) {
      for (const method of known) anywhere.add(method)
      const allow = list(known)
      const refusal = methodNotAllowed(allow)
      scope.options(url, { schema: { hide: true } }, (_request, reply) => {
        reply.code(204).header('allow', allow).send()
      })
      scope.route({
        method: methods.filter((method) => !known.has(method)),
        url,
        schema: { hide: true },
        handler: (_request, reply) => reply.refuse(refusal),
      })
    }
    isComplete = true
  })
}

/**
 * Answers 405 and OPTIONS with the methods of the path, and `OPTIONS *` with the methods of all
 * paths (RFC 9110 sections 15.5.6 and 9.3.7). A path without a route is 404.
 */
export default fp(plugin, { name: 'methods', dependencies: ['errors'] })

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { failure, notReady, shuttingDown } from '../http/errors.ts'

const tags = ['operations']
const ok = Type.Object({ status: Type.Literal('ok') }, { description: 'The check passed' })

const livezSchema = {
  tags,
  operation: 'getLiveness',
  summary: 'Check that the process runs',
  response: { 200: ok },
}

const readyzSchema = {
  tags,
  operation: 'getReadiness',
  summary: 'Check that the process is ready for traffic',
  response: { 200: ok, 503: failure('The process is shutting down, or its storage engine is unavailable') },
}

/**
 * Liveness depends on nothing but the event loop. Readiness means that the process wants traffic,
 * and that its engine could be used at the last check, at most half a second ago.
 */
const health: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/livez', { schema: livezSchema }, () => ({ status: 'ok' as const }))

  app.get('/readyz', { schema: readyzSchema }, (_request, reply) => {
    const { trouble } = app.store
    if (app.lifecycle.draining) reply.refuse(shuttingDown)
    else if (trouble !== undefined) reply.refuse(notReady(trouble))
    else reply.send({ status: 'ok' })
  })
}

export default health

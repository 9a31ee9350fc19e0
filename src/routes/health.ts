import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { failure, notReady, shuttingDown } from '../errors.ts'

const tags = ['operations']
const ok = Type.Object({ status: Type.Literal('ok') }, { description: 'Yes' })

const livezSchema = {
  tags,
  operation: 'getLiveness',
  summary: 'Does the process run?',
  response: { 200: ok },
}

const readyzSchema = {
  tags,
  operation: 'getReadiness',
  summary: 'Does the process want traffic?',
  response: { 200: ok, 503: failure('It is shutting down, or its storage engine cannot be used') },
}

/**
 * Liveness asks nobody: the event loop runs. Readiness: this process wants traffic, and when its engine was last looked at,
 * half a second ago at most, it could be used.
 */
const health: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/livez', { schema: livezSchema }, () => ({ status: 'ok' as const }))

  app.get('/readyz', { schema: readyzSchema }, () => {
    if (app.lifecycle.draining) throw shuttingDown()
    if (app.store.trouble !== undefined) throw notReady(app.store.trouble)
    return { status: 'ok' as const }
  })
}

export default health

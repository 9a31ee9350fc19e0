import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { failure, shuttingDown } from '../errors.ts'

const tags = ['operations']
const ok = Type.Object({ status: Type.Literal('ok') }, { description: 'Yes' })

const livezSchema = { tags, summary: 'Does the process run?', response: { 200: ok } }

const readyzSchema = {
  tags,
  summary: 'Does the process want traffic?',
  response: { 200: ok, 503: failure('It is shutting down') },
}

/** Liveness asks nobody: the event loop runs. Readiness: this process wants traffic. */
const health: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/livez', { schema: livezSchema }, () => ({ status: 'ok' as const }))

  app.get('/readyz', { schema: readyzSchema }, () => {
    if (app.lifecycle.draining) throw shuttingDown()
    return { status: 'ok' as const }
  })
}

export default health

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { ErrorBody, shuttingDown } from '../errors.ts'

const Status = Type.Object({ status: Type.Literal('ok') })

/** Liveness asks nobody: the event loop runs. Readiness: this process wants traffic. */
const health: FastifyPluginAsyncTypebox = async (app) => {
  app.get('/livez', { schema: { response: { 200: Status } } }, () => ({ status: 'ok' as const }))

  app.get('/readyz', { schema: { response: { 200: Status, 503: ErrorBody } } }, () => {
    if (app.lifecycle.draining) throw shuttingDown()
    return { status: 'ok' as const }
  })
}

export default health

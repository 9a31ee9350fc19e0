/**
 * The floor of the framework: Fastify with as many hooks as the service, all empty, and with the
 * same responses.
 */
import Fastify, { type FastifyReply, type FastifyRequest, LogController } from 'fastify'
import { answer, KEEP_ALIVE_MS } from './contract.ts'

const ON_REQUEST_HOOKS = 6
const ON_RESPONSE_HOOKS = 2

const app = Fastify({
  logger: { level: 'info' },
  logController: new LogController({ disableRequestLogging: true }),
  keepAliveTimeout: KEEP_ALIVE_MS,
})
app.removeAllContentTypeParsers()
app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
for (let i = 0; i < ON_REQUEST_HOOKS; i++)
  app.addHook('onRequest', (_request, _reply, done) => {
    done()
  })
for (let i = 0; i < ON_RESPONSE_HOOKS; i++)
  app.addHook('onResponse', (_request, _reply, done) => {
    done()
  })

function handle(request: FastifyRequest, reply: FastifyReply): void {
  const { status, headers, body } = answer(request.raw, request.body as Buffer | undefined)
  reply
    .code(status)
    .headers(headers)
    .send(body || undefined)
}
app.get('/api/buckets', handle)
app.route({ method: ['GET', 'PUT', 'DELETE'], url: '/api/buckets/:id', handler: handle })
await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })

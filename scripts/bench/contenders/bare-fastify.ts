/**
 * Fastify with raw-body parsing and a Map. If METRICS is set, also with fastify-metrics and its
 * defaults.
 */
import Fastify from 'fastify'
import fastifyMetrics from 'fastify-metrics'

const app = Fastify()
if (process.env.METRICS) await app.register(fastifyMetrics.default, { endpoint: '/metrics' })
app.removeAllContentTypeParsers()
app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))

interface ObjectRoute {
  Params: { id: string }
  Body: Buffer
}

const objects = new Map<string, Buffer>()
app.put<ObjectRoute>('/api/buckets/:id', (request, reply) => {
  const isNew = !objects.has(request.params.id)
  objects.set(request.params.id, request.body)
  reply.code(isNew ? 201 : 204).send()
})
app.get<ObjectRoute>('/api/buckets/:id', (request, reply) => {
  const object = objects.get(request.params.id)
  if (object === undefined) reply.code(404).send()
  else reply.header('content-type', 'application/octet-stream').send(object)
})
app.delete<ObjectRoute>('/api/buckets/:id', (request, reply) => {
  reply.code(objects.delete(request.params.id) ? 204 : 404).send()
})
await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })

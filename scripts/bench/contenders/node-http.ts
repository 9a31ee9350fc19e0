/** Node.js' own server and a Map. */
import { createServer } from 'node:http'

const objects = new Map<string, Buffer>()
const server = createServer((request, response) => {
  const id = (request.url as string).slice('/api/buckets/'.length)
  if (request.method === 'GET') {
    const object = objects.get(id)
    if (object === undefined) return void response.writeHead(404, { 'content-length': 0 }).end()
    const headers = { 'content-type': 'application/octet-stream', 'content-length': object.length }
    return void response.writeHead(200, headers).end(object)
  }
  if (request.method === 'DELETE') {
    const status = objects.delete(id) ? 204 : 404
    return void response.writeHead(status, status === 404 ? { 'content-length': 0 } : {}).end()
  }
  const chunks: Buffer[] = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', () => {
    const isNew = !objects.has(id)
    objects.set(id, Buffer.concat(chunks))
    response.writeHead(isNew ? 201 : 204, isNew ? { 'content-length': 0 } : {}).end()
  })
})
server.listen(Number(process.env.PORT), '127.0.0.1')

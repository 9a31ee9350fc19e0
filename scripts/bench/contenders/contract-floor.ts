/**
 * The floor of the contract: the HTTP server of Node.js with the responses of the service, byte for
 * byte.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { answer, KEEP_ALIVE_MS } from './contract.ts'

function send(request: IncomingMessage, response: ServerResponse, requestBody?: Buffer): void {
  const { status, headers, body } = answer(request, requestBody)
  const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }
  response.writeHead(status, { ...headers, ...length }).end(body)
}

const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
  if (request.method !== 'PUT') return send(request, response)
  const chunks: Buffer[] = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', () => {
    const [first] = chunks
    send(request, response, chunks.length === 1 ? first : Buffer.concat(chunks))
  })
})
server.listen(Number(process.env.PORT), '127.0.0.1')

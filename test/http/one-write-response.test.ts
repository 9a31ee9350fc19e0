import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import t from 'tap'
import { OneWriteResponse } from '../../src/http/one-write-response.ts'
import { send } from '../helper.ts'

const SMALL = Buffer.from(Array.from({ length: 1024 }, (_, i) => i))
const LARGE = Buffer.concat([SMALL, SMALL])

/** The response of a handler, and of each write to the kernel the number of parts with bytes. */
async function answer(
  handle: (response: ServerResponse) => void,
): Promise<{ body: Buffer; writes: number[] }> {
  const writes: number[] = []
  const server = createServer({ ServerResponse: OneWriteResponse }, (_request, response) => handle(response))
  server.once('connection', (socket: Socket) => {
    for (const name of ['_write', '_writev'] as const) {
      const original = socket[name] as (...args: unknown[]) => void
      const counting = (...args: unknown[]) => {
        const parts = (name === '_write' ? [{ chunk: args[0] }] : args[0]) as { chunk: Buffer | string }[]
        // Node.js 22 ends a response with an empty part.
        writes.push(parts.filter(({ chunk }) => chunk.length > 0).length)
        original.apply(socket, args)
      }
      Object.assign(socket, { [name]: counting })
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { body } = await send({ port: (server.address() as AddressInfo).port })
  await once(server.close(), 'close')
  return { body, writes }
}

t.test('a small Buffer goes out with its head in one part of one write, byte for byte', async (t) => {
  for (const body of [SMALL, SMALL.subarray(0, 1), Buffer.alloc(0)]) {
    const head = { 'content-length': body.length }
    const answered = await answer((response) => response.writeHead(200, head).end(body))
    t.ok(answered.body.equals(body))
    t.strictSame(answered.writes, [1])
  }
})

t.test('anything else is sent as by Node.js, and callbacks are called', async (t) => {
  t.ok((await answer((response) => response.end(LARGE))).body.equals(LARGE))
  t.equal(`${(await answer((response) => response.end('\u00fc'))).body}`, '\u00fc')
  t.equal((await answer((response) => response.end())).body.length, 0)
  await new Promise<void>((resolve) => answer((response) => response.end(SMALL, resolve)))
  await new Promise<void>((resolve) => answer((response) => response.end(SMALL, 'utf8', resolve)))
})

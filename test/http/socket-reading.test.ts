import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import t from 'tap'
import { startReading, stopReading } from '../../src/http/socket-reading.ts'

interface Handle {
  reading: boolean
  readStop(): void
}

t.test('reading starts again, also if Node.js itself has stopped it meanwhile', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  t.after(() => client.destroy())
  const [socket] = (await once(server, 'connection')) as [Socket]
  t.after(() => socket.destroy())
  socket.on('data', () => {})
  client.write('first')
  await once(socket, 'data')
  const { _handle: handle } = socket as Socket & { _handle: Handle }
  handle.reading = false
  handle.readStop()
  stopReading(socket)
  startReading(socket)
  client.write('second')
  const [bytes] = await once(socket, 'data')
  t.equal(`${bytes}`, 'second')
})

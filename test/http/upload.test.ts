import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import t from 'tap'
import { receive } from '../../src/http/upload.ts'

const MiB = 2 ** 20

t.test('a long body that is there already is read in many turns of the event loop', async (t) => {
  const length = 16 * MiB
  const chunks = Array.from({ length: length / 65536 }, () => Buffer.alloc(65536))
  const request = Object.assign(Readable.from(chunks), { headers: { 'content-length': `${length}` } })
  let turns = 0
  const count = () => {
    turns++
    immediate = setImmediate(count)
  }
  let immediate = setImmediate(count)
  t.teardown(() => clearImmediate(immediate))
  const memory = { reserve: () => true, release: () => {} }
  const upload = await receive(request as unknown as IncomingMessage, {
    maxBytes: length,
    memory,
    accept: () => true,
  })
  t.equal(upload?.bytes.length, length)
  t.ok(turns > 64, `${turns} turns`)
})

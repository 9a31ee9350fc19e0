/** Runs the contract again with a real Redis, as the user that docs/engines.md describes. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { useEngine } from '../engine.ts'
import { hasRedis, startRedis, waitForEngine } from '../redis.ts'

if (hasRedis(t)) {
  waitForEngine(t)
  const server = await startRedis(t)
  const [, acl = ''] = /^ACL (SETUSER storage .*)$/m.exec(readFileSync('docs/engines.md', 'utf8')) ?? []
  t.equal(await server.ask('acl', ...acl.split(' ')), 'OK')
  const url = server.url.replace('//', '//storage:PASSWORD@')
  useEngine({ url, servers: [server] })
  process.env.OPERATIONS ??= '3000'
  await import('./all.ts')
  // Without this, its servers would keep the process alive.
  t.end()
}

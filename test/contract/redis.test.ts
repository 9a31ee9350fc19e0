/** Runs the contract again with a real Redis. */
import t from 'tap'
import { useEngine } from '../engine.ts'
import { hasRedis, startRedis, waitForEngine } from '../redis.ts'

if (hasRedis(t)) {
  waitForEngine(t)
  const server = await startRedis(t)
  useEngine({ url: server.url, servers: [server] })
  process.env.OPERATIONS ??= '3000'
  await import('./concurrency.test.ts')
  await import('./preconditions.test.ts')
  await import('./ranges.test.ts')
  await import('./expiry.test.ts')
  await import('./model.test.ts')
  // Without this, its servers would keep the process alive.
  t.end()
}

/** Runs the contract again with a cluster of three primaries. */
import t from 'tap'
import { useEngine } from '../engine.ts'
import { hasRedis, startCluster, waitForEngine } from '../redis.ts'

if (hasRedis(t)) {
  waitForEngine(t)
  useEngine(await startCluster(t))
  process.env.OPERATIONS ??= '1500'
  await import('./all.ts')
  // Without this, its servers would keep the process alive.
  t.end()
}

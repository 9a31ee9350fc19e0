/** Checks the time limits of tests that `npm test` runs without limits. */
import { holdLimits } from '../limits.ts'
import { requireTool } from './require-tool.ts'

requireTool('redis-server', '--version')

holdLimits()
await import('../contract/expiry.test.ts')
await import('../contract/preconditions.test.ts')
await import('../contract/ranges.test.ts')
await import('../store/redis/answers.test.ts')
await import('../store/redis/cluster.test.ts')
await import('../store/redis/redis.test.ts')

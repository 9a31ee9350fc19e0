/** In the process of tap: a signal ends it soon, where tap would wait for the tests that are under way. */
import './parent.ts'

const GRACE_MS = 1000

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(signal, () => setTimeout(() => process.kill(process.pid, 'SIGKILL'), GRACE_MS))

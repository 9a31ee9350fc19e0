/** Ends tap soon after a signal. By itself tap waits until the running tests have ended. */
import './parent.ts'

const GRACE_MS = 1000

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(signal, () => setTimeout(() => process.kill(process.pid, 'SIGKILL'), GRACE_MS))

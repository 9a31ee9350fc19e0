/**
 * Ends this process soon after its parent. tap does not notice if npm is killed, and a test does
 * not notice if tap is killed.
 */
const INTERVAL_MS = 500
const parent = process.ppid

setInterval(() => {
  if (process.ppid !== parent) process.kill(process.pid, 'SIGKILL')
}, INTERVAL_MS).unref()

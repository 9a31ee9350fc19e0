/** Ends this process soon after its parent. If npm is killed, tap does not notice, nor do tests if tap is. */
const INTERVAL_MS = 500
const parent = process.ppid

setInterval(() => {
  if (process.ppid !== parent) process.kill(process.pid, 'SIGKILL')
}, INTERVAL_MS).unref()

/** Ends this process soon after its parent: npm ends without a word to tap, and tap without one to its tests, if it is killed. */
const INTERVAL_MS = 500
const parent = process.ppid

setInterval(() => {
  if (process.ppid !== parent) process.kill(process.pid, 'SIGKILL')
}, INTERVAL_MS).unref()

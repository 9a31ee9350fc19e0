import './http/tick-object.ts'
import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import { buildApp } from './app.ts'
import { type Config, loadConfig } from './plugins/config.ts'

/** How long current requests may take to finish after the drain, in milliseconds. */
const FINISH_MS = 10_000

/**
 * A second SIGINT within this time belongs to the same Ctrl-C, in milliseconds. The terminal sends
 * SIGINT to every process of the group, and `node --watch` passes on its own.
 */
const ONE_CTRL_C_MS = 500

/** Stops the process. The message names the wrong setting and the allowed values in one line. */
function refuseToStart(message: string): never {
  console.error(message)
  process.exit(1)
}

function readConfig(): Config {
  try {
    return loadConfig(process.env)
  } catch (error) {
    return refuseToStart((error as Error).message)
  }
}

/** Explains which of `HOST` and `PORT` is wrong, from the error of `listen`. */
function explainListenError({ HOST, PORT }: Config, { code = '', message }: NodeJS.ErrnoException): string {
  const noAddress = `HOST must be an address of this machine or a name of one, not ${JSON.stringify(HOST)}`
  const explanations: Record<string, string> = {
    EADDRINUSE: `PORT must be a free port, not ${PORT}: another process listens on it`,
    EACCES: `PORT must be a port that this user may listen on, not ${PORT}`,
    EADDRNOTAVAIL: noAddress,
    ENOTFOUND: noAddress,
  }
  return explanations[code] ?? `HOST and PORT must be an address to listen on: ${message}`
}

/**
 * Listens on `HOST` and `PORT`. For a name it uses the first address, IPv4 before IPv6. `::` means
 * every address: without a host Node.js listens on IPv6 and IPv4, or on IPv4 alone if the machine
 * has no IPv6.
 *
 * @throws {NodeJS.ErrnoException} if the name has no address, or the process cannot listen on it.
 */
async function listen({ HOST, PORT }: Config): Promise<void> {
  const { address } = await lookup(HOST, { order: 'ipv4first' })
  // `app.listen` would log a line for each network interface.
  app.server.listen({ port: PORT, ...(address !== '::' && { host: address }) })
  await once(app.server, 'listening')
}

const config = readConfig()
const app = buildApp(config)
const drainMs = config.DRAIN_SECONDS * 1000

const { close } = closeWithGrace(
  { delay: drainMs + FINISH_MS, logger: app.log, skip: ['SIGINT'] },
  async ({ signal, err, manual }) => {
    if (err !== undefined) app.log.fatal({ err }, 'stopping after an error')
    else if (manual) app.log.info('stopping without a drain')
    else app.log.info({ signal, drainSeconds: config.DRAIN_SECONDS }, 'draining')
    app.lifecycle.drain()
    if (signal !== undefined) await sleep(drainMs)
    else app.sockets.destroyIdle()
    await app.close()
    app.log.info('stopped')
  },
)

// Ctrl-C skips the drain, because a developer does not wait for load balancers.
let interruptedAt = Number.NEGATIVE_INFINITY
process.on('SIGINT', () => {
  if (!app.lifecycle.draining) {
    interruptedAt = performance.now()
    close()
  } else if (performance.now() - interruptedAt > ONE_CTRL_C_MS) process.exit(1)
})

await app.ready()
await listen(config).catch((error) => refuseToStart(explainListenError(config, error)))
app.log.info(
  {
    version: config.VERSION,
    revision: config.REVISION,
    address: app.server.address(),
    engine: app.store.engine,
    access: config.TOKENS.length === 0 ? 'open to all: no AUTH_TOKENS' : 'with a bearer token',
    maxObjectBytes: config.MAX_OBJECT_BYTES,
    maxStoreBytes: config.MAX_STORE_BYTES,
    maxConnections: config.MAX_CONNECTIONS,
  },
  'listening',
)

// The image runs with `--expose-gc`. Without load V8 would not collect the garbage of the start,
// which is 11 MB of 97 MB (`process_resident_memory_bytes`, Node.js 26).
globalThis.gc?.({ type: 'major', flavor: 'last-resort' })

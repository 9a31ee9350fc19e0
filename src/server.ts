import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import { buildApp } from './app.ts'
import { type Config, loadConfig } from './plugins/config.ts'

/** How long requests under way may take to finish after the drain, in milliseconds. */
const FINISH_MS = 10_000

const config = readConfig()
const app = buildApp(config)

closeWithGrace(
  { delay: config.DRAIN_SECONDS * 1000 + FINISH_MS, logger: app.log },
  async ({ signal, err }) => {
    if (err !== undefined) app.log.fatal({ err }, 'stopping after an error')
    else app.log.info({ signal, drainSeconds: config.DRAIN_SECONDS }, 'draining')
    app.drain()
    if (signal !== undefined) await sleep(config.DRAIN_SECONDS * 1000)
    await app.close()
    app.log.info('stopped')
  },
)

await app.ready()
app.server.listen({ host: config.HOST, port: config.PORT })
await once(app.server, 'listening')
app.log.info(
  {
    version: config.VERSION,
    revision: config.REVISION,
    address: app.server.address(),
    engine: app.store.engine,
    maxObjectBytes: config.MAX_OBJECT_BYTES,
    maxStoreBytes: config.MAX_STORE_BYTES,
  },
  'listening',
)

function readConfig(): Config {
  try {
    return loadConfig(process.env)
  } catch (error) {
    console.error((error as Error).message)
    process.exit(1)
  }
}

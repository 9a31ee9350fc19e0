/**
 * Builds the service's image and loads it into the cluster by the command in LOAD_IMAGE, which gets
 * the image's name as its last argument. Without LOAD_IMAGE the image is in the cluster already.
 */

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { lacking, start } from '../../process.ts'
import { namedContext } from './context.ts'

/** Runs a program as the user would, with all variables. */
async function show(...args: string[]): Promise<void> {
  const env = process.env as Record<string, string>
  const [status] = await once(start(args, { env, stdio: ['ignore', 'inherit', 'inherit'] }), 'exit')
  if (status !== 0) throw new Error(`${args.join(' ')}: status ${status}`)
}

try {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'))
  const image = `storage-api:${version}`
  const reason = lacking('kubectl')
  if (reason !== false) console.log(`skipped: ${reason}`)
  else {
    await namedContext()
    if (process.env.LOAD_IMAGE !== undefined) {
      await show('docker', 'build', '--quiet', '--tag', image, '.')
      await show('sh', '-c', `${process.env.LOAD_IMAGE} "$0"`, image)
    }
  }
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
}

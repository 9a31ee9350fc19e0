import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

const MEASURE = fileURLToPath(new URL('measure.ts', import.meta.url))

t.jobs = 2

/** Runs one measurement in a process of its own, where nothing else moves the memory. */
async function measure(name: string): Promise<Record<string, number>> {
  const env = { PATH: process.env.PATH }
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', MEASURE, name], { env })
  return JSON.parse(stdout)
}

t.test('an id keeps nothing alive of the URL that it came in', async (t) => {
  const { bytesAnObject } = await measure('long-urls')
  t.ok((bytesAnObject as number) < 1500, `${bytesAnObject} bytes an object that came with a query of 12 kB`)
})

t.test('a small object keeps nothing alive of its neighbours', async (t) => {
  const { bytesASurvivor } = await measure('survivors')
  t.ok((bytesASurvivor as number) < 1500, `${bytesASurvivor} bytes a survivor of 100 bytes`)
})

t.test('storage_bytes is what the memory of the process grows by, within a quarter', async (t) => {
  const { ratio } = await measure('accounting')
  t.ok(
    (ratio as number) > 0.75 && (ratio as number) < 1.25,
    `resident memory grew by ${ratio} of storage_bytes`,
  )
})

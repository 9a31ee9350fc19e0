import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const MEASURE = fileURLToPath(new URL('measure.ts', import.meta.url))

/** Runs one measurement in a process of its own, where nothing else moves the memory. */
function measure(name: string): Record<string, number> {
  const env = { PATH: process.env.PATH }
  return JSON.parse(execFileSync(process.execPath, ['--expose-gc', MEASURE, name], { encoding: 'utf8', env }))
}

t.test('an id keeps nothing alive of the URL that it came in', async (t) => {
  const { bytesAnObject } = measure('long-urls')
  t.ok((bytesAnObject as number) < 1500, `${bytesAnObject} bytes an object that came with a query of 12 kB`)
})

t.test('a small object keeps nothing alive of its neighbours', async (t) => {
  const { bytesASurvivor } = measure('survivors')
  t.ok((bytesASurvivor as number) < 1500, `${bytesASurvivor} bytes a survivor of 100 bytes`)
})

t.test('storage_bytes is what the memory of the process grows by, within a quarter', async (t) => {
  const { ratio } = measure('accounting')
  t.ok(
    (ratio as number) > 0.75 && (ratio as number) < 1.25,
    `resident memory grew by ${ratio} of storage_bytes`,
  )
})

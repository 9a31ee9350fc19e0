import t from 'tap'
import { outputOf } from '../../process.ts'

t.jobs = 2

/** Runs one measurement in a process of its own, where nothing else moves the memory. */
async function measure(name: string): Promise<Record<string, number>> {
  return JSON.parse(await outputOf([process.execPath, '--expose-gc', 'scripts/bench/measure.ts', name]))
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

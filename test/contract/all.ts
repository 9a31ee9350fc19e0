/** Runs all files of this folder with the engine that `useEngine` has set. */
import { globSync } from 'node:fs'

const ENGINES = ['redis.test.ts', 'cluster.test.ts']

for (const file of globSync('*.test.ts', { cwd: import.meta.dirname, exclude: ENGINES }).sort())
  await import(`./${file}`)

import { globSync } from 'node:fs'

const SOURCES = globSync('src/**/*.ts')

/** What the coverage of a test counts: the service, and none of the scripts that a test imports. */
export default () => SOURCES

import { globSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import t from 'tap'

/**
 * The layers of src/, from the lowest to the highest. Rooms of one layer do not know each other.
 */
const LAYERS = [
  ['src/http/'],
  ['src/metrics/'],
  ['src/store/'],
  ['src/store/memory/', 'src/store/redis/'],
  ['src/plugins/'],
  ['src/routes/'],
  ['src/app.ts'],
  ['src/server.ts'],
]
const ROOMS = LAYERS.flatMap((rooms, layer) => rooms.map((room) => ({ room, layer })))

/** The innermost room that a file is in. */
const roomOf = (file: string) =>
  ROOMS.filter(({ room }) => file.startsWith(room)).reduce((outer, inner) =>
    inner.room.length > outer.room.length ? inner : outer,
  )

/** The files that a file imports, as paths from the root. */
const importsOf = (file: string) =>
  [...readFileSync(file, 'utf8').matchAll(/\b(?:from|import)[ (]'(\..*?)'/g)].map(([, path = '']) =>
    relative('.', join(file, '..', path)),
  )

t.test('a file of src/ imports files of its own room and of lower layers', async (t) => {
  const imports = globSync('src/**/*.ts').flatMap((from) => importsOf(from).map((to) => ({ from, to })))
  t.ok(imports.length > 0)
  const forbidden = imports.filter(({ from, to }) => {
    const [importing, imported] = [roomOf(from), roomOf(to)]
    return importing !== imported && importing.layer <= imported.layer
  })
  t.strictSame(forbidden, [])
})

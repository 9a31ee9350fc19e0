import { hash } from 'node:crypto'
import type { Primary } from './connection.ts'
import { STAGING } from './writer.ts'

/** The most that one page takes: so many SCANs, each of so many keys, which takes a server some 2 ms. */
export const MAX_SCANS = 20
export const MAX_COUNT = 10_000

/** A SCAN goes on to the end of a bucket: so many keys more than it was asked for find room on a page. */
const SPARE = 8

/** Where a listing goes on. */
interface Place {
  /** Which primaries there are. With others it begins anew, for keys may have gone where it has been already. */
  cluster: string
  /** The number of the primary. */
  shard: number
  /** Which run of that server the cursor is of: after a restart it has another order, and begins anew. */
  run: string
  cursor: string
  /**
   * Where the last id of the page lies in the middle of a bucket, the next cursor and that id: the others of the bucket
   * that sort behind it follow. With another next cursor it is another bucket, and all of it follows.
   */
  next: string
  last: string
}

const PLACE = /^([\w-]{8}) (\d{1,5}) (\w{1,40}) (\d{1,20}) (\d{0,20}) (.*)$/su

const isCursor = (text: string) => BigInt.asUintN(64, BigInt(text)) === BigInt(text)

function parsePlace(text: string): Place | undefined {
  const [, cluster, shard, run, cursor, next, last] = PLACE.exec(text) ?? []
  if (cluster === undefined || run === undefined || cursor === undefined || !isCursor(cursor))
    return undefined
  return { cluster, shard: Number(shard), run, cursor, next: next as string, last: last as string }
}

const formatPlace = ({ cluster, shard, run, cursor, next, last }: Place) =>
  [cluster, shard, run, cursor, next, last].join(' ')

const escapeGlob = (text: string) => text.replace(/[\\*?[\]]/g, '\\$&')

async function runOf(primary: Primary): Promise<string> {
  const info = `${await primary.send(['INFO', 'server'])}`
  return `${/^run_id:(\w+)/m.exec(info)?.[1]}`
}

/**
 * One page of the keys that begin with a prefix, by SCAN over one primary after the other.
 *
 * SCAN promises each key that exists throughout, and says nothing of how many come at once: a bucket of its table, and
 * of a table that is being rebuilt many. What is too much is asked for again, in smaller pieces, and a bucket that is
 * still too much is sorted and cut.
 *
 * @returns undefined where `after` is not the `next` of any page.
 */
export async function listKeys(
  primaries: Primary[],
  prefix: string,
  limit: number,
  after: string | undefined,
): Promise<{ keys: string[]; next: string | undefined } | undefined> {
  const cluster = hash('sha256', primaries.map(({ address }) => address).join(), 'base64url').slice(0, 8)
  const begin = (shard: number, run: string): Place => ({
    cluster,
    shard,
    run,
    cursor: '0',
    next: '',
    last: '',
  })
  const parsed = after === undefined ? undefined : parsePlace(after)
  if (after !== undefined && parsed === undefined) return undefined
  let place = parsed?.cluster === cluster ? parsed : begin(0, '')
  let primary = primaries[place.shard]
  if (primary === undefined) return undefined
  const run = await runOf(primary)
  if (run !== place.run) place = begin(place.shard, run)

  const keys: string[] = []
  let count = place.last === '' ? Math.max(1, limit - SPARE) : 1
  for (let scans = 0; scans < MAX_SCANS && keys.length <= limit / 2; scans++) {
    const args = [
      'SCAN',
      place.cursor,
      'MATCH',
      `${escapeGlob(prefix)}*`,
      'COUNT',
      `${count}`,
      'TYPE',
      'string',
    ]
    const [next, scanned] = (await primary.send(args)) as [string, string[]]
    let found = [...new Set(scanned)].filter((key) => !key.includes(STAGING))
    if (place.last !== '' || found.length > limit - keys.length) {
      if (keys.length > 0) break
      if (count > 1) {
        count = Math.ceil(count / 4)
        continue
      }
      const { last } = place
      found = found.sort().filter((key) => place.next !== next || key > last)
      if (found.length > limit) {
        keys.push(...found.slice(0, limit))
        return { keys, next: formatPlace({ ...place, next, last: keys.at(-1) as string }) }
      }
    }
    keys.push(...found)
    if (found.length < count / 2) count = Math.min(2 * count, MAX_COUNT)
    if (next !== '0') {
      place = { ...place, cursor: next, next: '', last: '' }
      continue
    }
    primary = primaries[place.shard + 1]
    if (primary === undefined) return { keys, next: undefined }
    place = begin(place.shard + 1, await runOf(primary))
  }
  return { keys, next: formatPlace(place) }
}

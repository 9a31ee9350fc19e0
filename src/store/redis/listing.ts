import { hash } from 'node:crypto'
import type { Primary } from './connection.ts'
import { STAGING } from './writer.ts'

/**
 * The limits of one page: the number of SCANs, and the COUNT of each. A server needs about 2 ms for
 * such a SCAN.
 */
export const MAX_SCANS = 20
export const MAX_COUNT = 10_000

/** A SCAN continues to the end of a bucket. A page has room for this many keys more than COUNT. */
const SPARE = 8

/** Where a listing continues. */
interface Place {
  /**
   * A hash of the primaries. If they change, the listing starts again, because keys may have moved
   * to a server that is done.
   */
  cluster: string
  /** The number of the primary. */
  shard: number
  /**
   * The run of that server. After a restart the order is different, and the listing of that server
   * starts again.
   */
  run: string
  cursor: string
  /**
   * If the page ends in the middle of a bucket: the next cursor and the last key of the page. The
   * keys of the bucket that sort after it follow. If the next cursor is different, the bucket is
   * another one, and all of its keys follow.
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
 * Returns one page of the keys that begin with a prefix. It uses SCAN on one primary after the
 * other.
 *
 * SCAN returns every key that exists throughout, but it does not limit how many keys it returns at
 * once: at least one bucket of its hash table, and many buckets while the table is rebuilt. If
 * there are too many keys, a smaller COUNT is tried. If one bucket has too many keys, they are
 * sorted and split between pages.
 *
 * @returns undefined if `after` is not the `next` of any page.
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

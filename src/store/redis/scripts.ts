import { hash } from 'node:crypto'
import type { Preconditions } from '../../http/preconditions.ts'
import { HEAD_BYTES } from './object.ts'

/** A Lua script, and its hash, under which the server keeps it. */
export interface Script {
  text: string
  sha1: string
}

const script = (text: string): Script => ({ text, sha1: hash('sha1', text) })

/** The error of MOVE if the staged object does not exist, or is not as it was written. */
const LOST = 'TRYAGAIN the object was staged for too long'

/**
 * The beginning of PUT, MOVE and DELETE. It reads the entity tag of the object that exists at the
 * time ARGV[1] (Unix time in milliseconds). Then it evaluates the preconditions, as `failing` in
 * src/http/preconditions.ts does. ARGV[2] and ARGV[3] are the numbers of entity tags of If-Match
 * and If-None-Match, or -1 if the field is absent. The tags follow.
 */
const BEGIN = `
local head = redis.call('GETRANGE', KEYS[1], 0, ${HEAD_BYTES - 1})
local etag, expires = string.match(head, '^(%S+) +%d+ +%d+ +(%d*) +%w+ *\\n$')
if etag and expires ~= '' and tonumber(expires) * 1000 <= tonumber(ARGV[1]) then etag = nil end
local function lists(first, count)
  for i = first, first + count - 1 do
    if etag and (ARGV[i] == etag or ARGV[i] == '*') then return true end
  end
  return false
end
local matches, excludes = tonumber(ARGV[2]), tonumber(ARGV[3])
local rest = 4 + math.max(matches, 0)
local fails = (matches >= 0 and not lists(4, matches)) or (excludes >= 0 and lists(rest, excludes))
rest = rest + math.max(excludes, 0)
`

/**
 * Writes an object. After the preconditions: the value, and when it expires (Unix time in
 * milliseconds) or an empty string.
 */
export const PUT = script(`${BEGIN}
if fails then return 'precondition_failed' end
if ARGV[rest + 1] == '' then
  redis.call('SET', KEYS[1], ARGV[rest])
else
  redis.call('SET', KEYS[1], ARGV[rest], 'PXAT', ARGV[rest + 1])
end
return etag and 'replaced' or 'created'
`)

/**
 * Prepares KEYS[1] for an object that is written in parts: the head ARGV[1], zeros up to the length
 * ARGV[2], and a time to live of ARGV[3] milliseconds. The server allocates exactly this length. A
 * string that grows has up to 1 MiB to spare instead.
 */
export const STAGE = script(`
redis.call('SETRANGE', KEYS[1], ARGV[2] - 1, '\\0')
redis.call('SETRANGE', KEYS[1], 0, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
`)

/**
 * Moves a staged object from KEYS[2] to KEYS[1]. After the preconditions: its head, and when it
 * expires as in PUT.
 */
export const MOVE = script(`${BEGIN}
if redis.call('GETRANGE', KEYS[2], 0, ${HEAD_BYTES - 1}) ~= ARGV[rest] then return redis.error_reply('${LOST}') end
if fails then
  redis.call('UNLINK', KEYS[2])
  return 'precondition_failed'
end
redis.call('RENAME', KEYS[2], KEYS[1])
if ARGV[rest + 1] == '' then
  redis.call('PERSIST', KEYS[1])
else
  redis.call('PEXPIREAT', KEYS[1], ARGV[rest + 1])
end
return etag and 'replaced' or 'created'
`)

/** Deletes an object. No arguments follow the preconditions. */
export const DELETE = script(`${BEGIN}
if not etag then return 'miss' end
if fails then return 'precondition_failed' end
redis.call('UNLINK', KEYS[1])
return 'deleted'
`)

const tagsOf = (tags: Preconditions['ifMatch']) => (tags === '*' ? ['*'] : (tags ?? []))

/** The first arguments of PUT, MOVE and DELETE. */
export function preconditionArguments(preconditions: Preconditions | undefined): string[] {
  const now = `${Date.now()}`
  if (preconditions === undefined) return [now, '-1', '-1']
  const { ifMatch, ifNoneMatch } = preconditions
  const matches = tagsOf(ifMatch)
  // Weak comparison ignores the W/. The script compares strongly, where a weak tag never matches.
  const excludes = tagsOf(ifNoneMatch).map((tag) => tag.replace(/^W\//, ''))
  const count = (tags: unknown, { length }: readonly string[]) => (tags === undefined ? '-1' : `${length}`)
  return [now, count(ifMatch, matches), count(ifNoneMatch, excludes), ...matches, ...excludes]
}

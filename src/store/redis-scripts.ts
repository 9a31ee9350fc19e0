import { hash } from 'node:crypto'
import type { Preconditions } from '../preconditions.ts'

/** A Lua script, and the hash under which the server keeps it. */
export interface Script {
  text: string
  sha1: string
}

const script = (text: string): Script => ({ text, sha1: hash('sha1', text) })

/**
 * An object is a hash of two fields: `b`, its bytes, and `m`, what there is to know of it: the entity tag, the size in
 * bytes, when it was put and when its life ends, in Unix seconds, separated by spaces.
 *
 * Begins both scripts: it finds the entity tag of what exists at the time ARGV[1], in Unix milliseconds, and evaluates
 * the preconditions as `failing` in src/preconditions.ts does. ARGV[2] and ARGV[3] are how many entity tags If-Match and
 * If-None-Match have, -1 where they are absent; the tags follow.
 */
const BEGIN = `
local meta = redis.call('HGET', KEYS[1], 'm')
local etag, expires
if meta then
  etag, expires = string.match(meta, '^(%S+) %d+ %d+ ?(%d*)$')
  if expires ~= '' and tonumber(expires) * 1000 <= tonumber(ARGV[1]) then etag = nil end
end
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

/** After the preconditions: the bytes, `m`, and the end of the object's life in Unix milliseconds, or nothing. */
export const PUT = script(`${BEGIN}
if fails then return 'precondition_failed' end
redis.call('HSET', KEYS[1], 'b', ARGV[rest], 'm', ARGV[rest + 1])
if ARGV[rest + 2] ~= '' then
  redis.call('PEXPIREAT', KEYS[1], ARGV[rest + 2])
elseif expires and expires ~= '' then
  redis.call('PERSIST', KEYS[1])
end
return etag and 'replaced' or 'created'
`)

export const DELETE = script(`${BEGIN}
if not etag then return 'miss' end
if fails then return 'precondition_failed' end
redis.call('DEL', KEYS[1])
return 'deleted'
`)

const tagsOf = (tags: Preconditions['ifMatch']) => (tags === '*' ? ['*'] : (tags ?? []))

/** The arguments that both scripts begin with. */
export function preconditionArguments({ ifMatch, ifNoneMatch }: Partial<Preconditions> = {}): string[] {
  const matches = tagsOf(ifMatch)
  // Weak comparison takes a weak tag for what it quotes; a strong one takes it for no match, as the script does.
  const excludes = tagsOf(ifNoneMatch).map((tag) => tag.replace(/^W\//, ''))
  const count = (tags: unknown, { length }: readonly string[]) => (tags === undefined ? '-1' : `${length}`)
  return [`${Date.now()}`, count(ifMatch, matches), count(ifNoneMatch, excludes), ...matches, ...excludes]
}

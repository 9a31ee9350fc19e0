import slots from '@redis/client/dist/lib/utils/calculate-slot.js'

const SLOTS = 16_384

/** The slot of a cluster that a key belongs to. */
export const slotOf = slots.default

/** A hash tag for each slot. */
const tags: string[] = []

/** Makes the hash tags of all slots, unless they are made already. Takes 24 ms. */
export function makeHashTags(): void {
  for (let number = 0, found = tags.length; found < SLOTS; number++) {
    const slot = slotOf(`${number}`)
    if (tags[slot] === undefined) found++
    tags[slot] ??= `{${number}}`
  }
}

/** A hash tag that belongs to the same slot as the key. Call {@link makeHashTags} first. */
export const hashTagOf = (key: string) => tags[slotOf(key)] as string

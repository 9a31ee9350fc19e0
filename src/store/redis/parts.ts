/**
 * The length of the parts in which large objects are read and written, in bytes: 2 ms of 1 Gbit/s.
 */
export const PART_BYTES = 256 * 1024

/** The number of parts of an object that are transferred at the same time. */
const PARTS_AT_ONCE = 4

/**
 * Calls `act` for each part of an object, for some parts at the same time. After an error it starts
 * no other part, and rejects when the current parts have ended.
 *
 * @param act gets a part's position and its length, in bytes.
 */
export async function forEachPart(
  from: number,
  end: number,
  act: (at: number, length: number) => Promise<void>,
): Promise<void> {
  let next = from
  const actInTurn = async () => {
    while (next < end) {
      const at = next
      const length = Math.min(PART_BYTES, end - at)
      next += length
      try {
        await act(at, length)
      } catch (error) {
        next = end
        throw error
      }
    }
  }
  const results = await Promise.allSettled(Array.from({ length: PARTS_AT_ONCE }, actInTurn))
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

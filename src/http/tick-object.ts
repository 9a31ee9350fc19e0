import { createHook } from 'node:async_hooks'

/**
 * One entry of `process.nextTick`'s queue, which is kept for the life of the process. It keeps the
 * hidden classes alive that V8 gives to all entries. A garbage collection that finds the queue
 * empty would discard them. V8 would then create new ones, conclude that entries have many shapes,
 * and build each entry property by property. This takes a tenth of the processor time of a GET
 * (`npm run bench`, with and without, Node.js 26). Import this first, because the collection after
 * the start does it.
 */
export const tickObjects: object[] = []

const hook = createHook({
  init: (_asyncId, _type, _triggerAsyncId, resource) => void tickObjects.push(resource),
}).enable()
process.nextTick(() => {})
hook.disable()

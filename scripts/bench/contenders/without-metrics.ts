/** For `node --import`: replaces the service's metrics plugin by one that measures nothing. */
import { registerHooks } from 'node:module'

registerHooks({
  resolve(specifier, context, next) {
    const isMetrics = specifier.endsWith('/metrics.js') && context.parentURL?.endsWith('/app.js')
    return next(isMetrics ? new URL('no-metrics.ts', import.meta.url).href : specifier, context)
  },
})

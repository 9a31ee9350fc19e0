/** The cluster that the tests may change: kubectl's current context, if the user has named it. */
import { outputOf, run } from '../../process.ts'

/** The variables that kubectl needs to find the user's own configuration. */
const USERS: Record<string, string> =
  process.env.KUBECONFIG === undefined ? {} : { KUBECONFIG: process.env.KUBECONFIG }

/** @throws {Error} unless KUBE_CONTEXT names the current context. */
export async function namedContext(): Promise<string> {
  const { stdout } = await run(['kubectl', 'config', 'current-context'], { env: USERS })
  const current = stdout.trim()
  if (current === '') throw new Error('kubectl has no current context')
  if (process.env.KUBE_CONTEXT !== current)
    throw new Error(
      `the current context of kubectl is ${current}: set KUBE_CONTEXT=${current} to let the tests change it`,
    )
  return current
}

/**
 * The configuration of one context alone, credentials included. A later change of the current
 * context has no effect.
 */
export const configurationOf = (context: string) =>
  outputOf(['kubectl', 'config', 'view', '--raw', '--flatten', '--minify', '--context', context], {
    env: USERS,
  })

import { randomUUID } from 'node:crypto'
import type { Test } from 'tap'
import { guard, outputOf, run } from '../process.ts'

/**
 * The name of this process's stack. It is unique, because a volume of an interrupted run would show
 * its samples to the next run.
 */
const PROJECT = `storage-api-e2e-${randomUUID()}`

/** 0 makes Docker choose free ports. */
const PORTS = { STORAGE_API_PORT: '0', PROMETHEUS_PORT: '0', GRAFANA_PORT: '0' }

/** Runs docker and returns its output. */
export async function docker(...args: string[]): Promise<string> {
  return (await outputOf(['docker', ...args])).trim()
}

/** Runs docker compose with the repository's compose.yaml and only these variables. */
export async function compose(args: string[], env: Record<string, string> = {}): Promise<string> {
  const command = ['docker', 'compose', '--project-name', PROJECT, ...args]
  return (await outputOf(command, { env: { ...PORTS, ...env } })).trim()
}

/**
 * Runs docker three times after this process has ended, because an earlier command may still be
 * running.
 */
const guardDocker = (...args: string[]) =>
  guard('sh', '-c', 'for attempt in 1 2 3; do docker "$@"; sleep 1; done', 'sh', ...args)

/** Starts services of the stack. Removes the whole stack after the test. */
export async function startStack(
  t: Pick<Test, 'teardown'>,
  services: string[],
  env: Record<string, string> = {},
  options: string[] = [],
): Promise<void> {
  const down = ['down', '--volumes', '--remove-orphans']
  const release = guardDocker('compose', '--project-name', PROJECT, ...options, ...down)
  t.teardown(async () => {
    await compose([...options, ...down], env)
    release()
  })
  await compose([...options, 'up', '--build', '--detach', '--wait', ...services], env)
}

/** A running container. */
export interface Container {
  readonly name: string
  remove(): Promise<void>
}

/** Starts a container with these arguments of `docker run`. */
export async function startContainer(...args: string[]): Promise<Container> {
  const name = `${PROJECT}-${randomUUID()}`
  const release = guardDocker('rm', '--force', name)
  await docker('run', '--detach', '--name', name, ...args)
  return {
    name,
    async remove() {
      await docker('rm', '--force', name)
      release()
    },
  }
}

/** Runs a container with these arguments of `docker run`, and waits for its end. */
export async function runContainer(...args: string[]) {
  const name = `${PROJECT}-${randomUUID()}`
  const release = guardDocker('rm', '--force', name)
  const result = await run(['docker', 'run', '--rm', '--name', name, ...args])
  release()
  return result
}

/** The URL at which a port of a service is published. */
export async function published(service: string, port: number): Promise<string> {
  return `http://${await compose(['port', service, String(port)])}`
}

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Runs docker, and returns what it prints. */
export async function docker(...args: string[]): Promise<string> {
  const { stdout } = await run('docker', args, { maxBuffer: 2 ** 30 })
  return stdout.trim()
}

/** Variables of a stack beside the one that a developer may have running: its own name, and free ports. */
const ENV = {
  ...process.env,
  COMPOSE_PROJECT_NAME: 'storage-api-e2e',
  STORAGE_API_PORT: '0',
  PROMETHEUS_PORT: '0',
  GRAFANA_PORT: '0',
}

/** Runs docker compose on the repository's compose.yaml, with these variables besides. */
export async function compose(args: string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  const { stdout } = await run('docker', ['compose', ...args], {
    env: { ...ENV, ...env },
    maxBuffer: 2 ** 30,
  })
  return stdout.trim()
}

/** Where a port of a service is published, as a URL. */
export async function published(service: string, port: number): Promise<string> {
  return `http://${await compose(['port', service, String(port)])}`
}

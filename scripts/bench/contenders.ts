/** The measured servers. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePorts, hasProgram, temporaryDirectory } from '../../test/process.ts'
import { type Command, listening, start } from './process.ts'
import type { PATHS, WorkloadName } from './workloads.ts'

export interface Contender {
  /** The layout of paths, by default `buckets`. */
  readonly paths?: keyof typeof PATHS
  /** The workloads that it does not support. */
  readonly without?: readonly WorkloadName[]
  /**
   * Returns the command that starts it on a port of the loopback interface. Undefined if the
   * machine does not have the program.
   */
  command(port: number): Command | undefined | Promise<Command | undefined>
}

const file = (name: string) => join(import.meta.dirname, 'contenders', name)

/** The environment variables of the image. */
const IMAGE = { NODE_ENV: 'production', MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: `${128 * 1024}` }

/** The service as the image runs it, from a built checkout. */
export function storageApi(args: string[] = [], env: Record<string, string> = {}, checkout = '.') {
  const server = join(checkout, 'dist/server.js')
  return (port: number): Command => ({
    args: ['node', ...args, '--max-old-space-size-percentage=75', '--expose-gc', server],
    env: { ...IMAGE, HOST: '127.0.0.1', PORT: `${port}`, ...env },
  })
}

function script(name: string, env: Record<string, string> = {}) {
  return (port: number): Command => ({
    args: ['node', file(name)],
    env: { NODE_ENV: 'production', PORT: `${port}`, ...env },
  })
}

/** WebDAV on a file system in memory, with one process like all other contenders. */
function nginx(port: number): Command | undefined {
  if (!hasProgram('nginx')) return undefined
  const directory = temporaryDirectory('bench-nginx', '/dev/shm')
  const { path } = directory
  mkdirSync(join(path, 'api/buckets'), { recursive: true })
  const configuration = `
    daemon off; master_process off; error_log stderr crit; pid ${path}/pid; worker_rlimit_nofile 4096;
    events {}
    http {
      access_log off; keepalive_requests 1000000000; client_body_temp_path ${path}/body;
      server {
        listen 127.0.0.1:${port};
        root ${path};
        location / { dav_methods PUT DELETE; client_body_buffer_size 128k; }
      }
    }`
  writeFileSync(join(path, 'nginx.conf'), configuration)
  return { args: ['nginx', '-c', join(path, 'nginx.conf')], directory }
}

let redisPort: Promise<number> | undefined

/**
 * Starts one redis-server for all contenders, on the core of the load. It ends with this process.
 */
async function startRedis(): Promise<number> {
  const [port = 0] = await freePorts(1)
  const where = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--logfile', '/dev/null']
  const child = start({ args: ['redis-server', ...where] }, 'load')
  child.stdout?.destroy()
  child.unref()
  await listening(port, child)
  return port
}

/** The service with Redis as its engine. */
async function overRedis(port: number): Promise<Command | undefined> {
  if (!hasProgram('redis-server')) return undefined
  redisPort ??= startRedis()
  return storageApi([], { STORAGE_URL: `redis://127.0.0.1:${await redisPort}` })(port)
}

/** The configuration of its package, except for the address and the log. */
async function webdis(port: number): Promise<Command | undefined> {
  if (!hasProgram('webdis') || !hasProgram('redis-server')) return undefined
  redisPort ??= startRedis()
  const directory = temporaryDirectory('bench-webdis')
  const path = join(directory.path, 'webdis.json')
  const configuration = {
    redis_host: '127.0.0.1',
    redis_port: await redisPort,
    http_host: '127.0.0.1',
    http_port: port,
    threads: 2,
    daemonize: false,
    websockets: false,
    database: 0,
    verbosity: 0,
    logfile: '/dev/null',
  }
  writeFileSync(path, JSON.stringify(configuration))
  return { args: ['webdis', path], directory }
}

/** The workloads that need more than PUT, GET and DELETE. */
const CONTRACT = ['GET 32 of 64 KiB', 'GET a listing', 'GET 304', 'PUT 412'] as const

/** It ignores the conditions of PUTs, and lists folders in HTML. */
const NGINX = ['GET a listing', 'PUT 412'] as const

/** It has no 404 with the same path, and no DELETE. */
const WEBDIS = [...CONTRACT, 'GET 404', '80/15/5'] as const

export const CONTENDERS = {
  'storage-api': { command: storageApi() },
  'contract floor': { command: script('contract-floor.ts') },
  'framework floor': { command: script('framework-floor.ts') },
  'without metrics': { command: storageApi(['--import', file('without-metrics.ts')]) },
  'bare Fastify': { command: script('bare-fastify.ts'), without: CONTRACT },
  'fastify-metrics': { command: script('bare-fastify.ts', { METRICS: 'true' }), without: CONTRACT },
  nginx: { command: nginx, without: NGINX },
  redis: { command: overRedis },
  webdis: { command: webdis, paths: 'webdis', without: WEBDIS },
} satisfies Record<string, Contender>

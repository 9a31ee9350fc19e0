/** What is measured, and what it is measured beside. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { hasProgram, temporaryDirectory } from '../../test/process.ts'
import type { Command } from './process.ts'
import type { PATHS, WorkloadName } from './workloads.ts'

export interface Contender {
  /** `buckets` by default. */
  readonly paths?: keyof typeof PATHS
  /** What it cannot do. */
  readonly without?: readonly WorkloadName[]
  /** Starts it to listen on a port of the loopback interface; undefined where the machine does not have it. */
  command(port: number): Command | undefined
}

const REDIS = { host: '127.0.0.1', port: 6379 }

const file = (name: string) => join(import.meta.dirname, 'contenders', name)

/** The image's variables. */
const IMAGE = { NODE_ENV: 'production', MALLOC_ARENA_MAX: '1', MALLOC_MMAP_THRESHOLD_: `${128 * 1024}` }

/** The service as the image runs it. */
export function storageApi(args: string[] = [], env: Record<string, string> = {}) {
  return (port: number): Command => ({
    args: ['node', ...args, '--max-old-space-size-percentage=75', '--expose-gc', 'dist/server.js'],
    env: { ...IMAGE, HOST: '127.0.0.1', PORT: `${port}`, ...env },
  })
}

function script(name: string, env: Record<string, string> = {}) {
  return (port: number): Command => ({
    args: ['node', file(name)],
    env: { NODE_ENV: 'production', PORT: `${port}`, ...env },
  })
}

/** WebDAV on a file system in memory, by one process as everybody else. */
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

/** As its package comes, but for the address and the log. */
function webdis(port: number): Command | undefined {
  if (!hasProgram('webdis')) return undefined
  const directory = temporaryDirectory('bench-webdis')
  const path = join(directory.path, 'webdis.json')
  const configuration = {
    redis_host: REDIS.host,
    redis_port: REDIS.port,
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

export const CONTENDERS = {
  'storage-api': { command: storageApi() },
  'without metrics': { command: storageApi(['--import', file('without-metrics.ts')]) },
  'bare Fastify': { command: script('bare-fastify.ts'), without: ['GET 304'] },
  'fastify-metrics': { command: script('bare-fastify.ts', { METRICS: 'true' }), without: ['GET 304'] },
  'node:http': { command: script('node-http.ts'), without: ['GET 304'] },
  nginx: { command: nginx },
  redis: { command: storageApi([], { STORAGE_URL: `redis://${REDIS.host}:${REDIS.port}` }) },
  webdis: { command: webdis, paths: 'webdis', without: ['GET 304'] },
} satisfies Record<string, Contender>

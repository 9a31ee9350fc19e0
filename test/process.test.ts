import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import { until } from './helper.ts'
import { freePorts, hasProgram, outputOf, run, start, stop } from './process.ts'

/**
 * A process that starts a server, which listens on a port, and makes a folder, prints its path and
 * its own id, and waits.
 */
const parentOf = (port: number) => `
  import { createServer } from 'node:net'
  import { start, temporaryDirectory } from './test/process.ts'
  const { path } = temporaryDirectory("it's a test")
  const server = "require('net').createServer().listen(${port}, '127.0.0.1', () => console.log('listening'))"
  start([process.execPath, '--eval', server]).stdout.once('data', () => {
    console.log(process.pid)
    console.log(path)
  })
  createServer().listen(0, '127.0.0.1')
`

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  const isThere = await once(socket, 'connect').then(
    () => true,
    () => false,
  )
  socket.destroy()
  return isThere
}

/** Starts a shell that starts such a process, and ends either of them by a signal. */
async function leavesNothing(t: Test, end: (shell: number, parent: number) => void): Promise<void> {
  const [port = 0] = await freePorts(1)
  const script = ['--input-type=module', '--eval', parentOf(port)]
  const shell = start(['sh', '-c', '"$@" & wait', 'sh', process.execPath, ...script])
  t.after(() => stop(shell))
  const lines: string[] = []
  createInterface(shell.stdout as Readable).on('line', (line) => lines.push(line))
  await until(() => lines.length === 2)
  const [parent, path = ''] = lines
  t.ok(await isListening(port))
  t.ok(existsSync(path))
  end(shell.pid as number, Number(parent))
  await until(async () => !(await isListening(port)))
  await until(() => !existsSync(path))
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGKILL'] as const) {
  t.test(`a process that ends by ${signal} leaves no server and no folder behind`, async (t) => {
    await leavesNothing(t, (_shell, parent) => process.kill(parent, signal))
  })
}

t.test('a process whose parent is killed ends, and leaves nothing behind either', async (t) => {
  await leavesNothing(t, (shell) => process.kill(shell, 'SIGKILL'))
})

t.test('a program that is stopped takes with it what it has started', async (t) => {
  const [port = 0] = await freePorts(1)
  const server = `require('net').createServer().listen(${port}, '127.0.0.1', () => console.log('listening'))`
  const shell = start(['sh', '-c', '"$@" & wait', 'sh', process.execPath, '--eval', server])
  await once(shell.stdout as Readable, 'data')
  await stop(shell)
  await until(async () => !(await isListening(port)))
  t.not(shell.signalCode, null)
  await stop(shell)
})

t.test('a program gets the variables that it is given, and of the user only where things are', async (t) => {
  const env = { ...process.env }
  t.after(() => {
    process.env = env
  })
  Object.assign(process.env, {
    FORCE_COLOR: '3',
    LANG: 'C',
    NODE_OPTIONS: '--no-warnings',
    PORT: '1',
    FAULTS: '1',
  })
  const names = (await outputOf(['env'], { env: { GIVEN: 'a b' } })).split('\n').filter((line) => line !== '')
  const known = /^(PATH|HOME|TMPDIR|XDG_RUNTIME_DIR|DOCKER_\w+|GIVEN)=/
  t.strictSame(
    names.filter((line) => !known.test(line)),
    [],
  )
  t.ok(names.includes('GIVEN=a b'))
})

t.test('of a program there are the status and what it has printed', async (t) => {
  const script = 'read -r line; echo "$line"; echo "wrong" >&2; exit 3'
  const result = await run(['sh', '-c', script], { input: 'given\n' })
  t.strictSame(result, { status: 3, stdout: 'given\n', stderr: 'wrong\n' })
  await t.rejects(outputOf(['sh', '-c', script]), { message: /status 3: wrong/ })
  t.equal((await run(['no-such-program'])).status, 127)
  t.strictSame([hasProgram('sh'), hasProgram('no-such-program')], [true, false])
})

/** Which connection a command uses, and how silent connections are replaced. */
import t, { type Test } from 'tap'
import { Answers, TimeLimitError } from '../../../src/store/redis/answers.ts'
import type {
  Arguments,
  Connection,
  ConnectionOptions,
  Primary,
} from '../../../src/store/redis/connection.ts'

const MIB = 2 ** 20

/** A connection of a test, with the commands that have not been answered yet. */
class FakeConnection implements Connection {
  readonly sent: { args: Arguments; resolve(answer: unknown): void; reject(error: Error): void }[] = []
  readonly renewed: (string[] | undefined)[] = []
  addresses = ['a:1']
  isClosed = false

  send(_key: string, args: Arguments): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers()
    this.sent.push({ args, resolve, reject })
    return promise
  }

  addressOf = () => this.addresses[0] as string
  tagFor = () => '{tag}'
  primaries = (): Primary[] =>
    this.addresses.map((address) => ({ address, send: (args) => this.send('', args) }))
  renew = (silent?: string[]) => void this.renewed.push(silent)

  close(): void {
    this.isClosed = true
  }
}

/** Lanes over connections of the test: checks, small, two to read and two to write. */
async function open(t: Test) {
  const connections: FakeConnection[] = []
  const original = await import('../../../src/store/redis/connection.ts')
  const connect = () => {
    const connection = new FakeConnection()
    connections.push(connection)
    return connection
  }
  const rejections: ((error: Error) => void)[] = []
  class FakeAnswers extends Answers {
    override within<T>(_limitMs: number, answer: Promise<T>): Promise<T> {
      const expired = new Promise<never>((_resolve, reject) => void rejections.push(reject))
      return super.within(3_600_000, Promise.race([answer, expired]))
    }
  }
  const { Lanes } = await t.mockImport<typeof import('../../../src/store/redis/lanes.ts')>(
    '../../../src/store/redis/lanes.ts',
    {
      '../../../src/store/redis/connection.ts': { ...original, connect },
      '../../../src/store/redis/answers.ts': { Answers: FakeAnswers, TimeLimitError },
    },
  )
  /** Lets the time limits of all unanswered commands expire. */
  const expire = () => {
    for (const reject of rejections.splice(0)) reject(new TimeLimitError('late'))
  }
  const lanes = new Lanes({} as ConnectionOptions, () => {})
  const [checks, small, ...others] = connections as [FakeConnection, FakeConnection, ...FakeConnection[]]
  return { lanes, connections, checks, small, reading: others.slice(0, 2), writing: others.slice(2), expire }
}

/** Answers all commands that have been sent. */
function answer({ sent }: FakeConnection, value: unknown = 1): void {
  for (const { resolve } of sent.splice(0)) resolve(value)
}

t.test('checks, small commands, and each direction of transfers have connections of their own', async (t) => {
  const { lanes, connections, checks, small, reading, writing } = await open(t)
  lanes.send('k', ['SMALL'])
  lanes.sendBeside('k', ['BESIDE'])
  lanes.transfer('k', { direction: 'read', bytes: 1 }, ['READ'])
  lanes.transfer('k', { direction: 'write', bytes: 1 }, ['WRITE'], ['KEEP'])
  const names = ({ sent }: FakeConnection) => sent.map(({ args }) => args[0])
  t.strictSame([checks, small].map(names), [['BESIDE'], ['SMALL']])
  t.strictSame(reading.map(names), [['READ'], []])
  t.strictSame(writing.map(names), [['WRITE', 'KEEP'], []], 'the commands of a transfer go one way')
  lanes.close()
  t.ok(connections.every(({ isClosed }) => isClosed))
})

t.test('a transfer goes where the fewest bytes wait', async (t) => {
  const { lanes, reading } = await open(t)
  const [first, second] = reading as [FakeConnection, FakeConnection]
  const read = (bytes: number) => lanes.transfer('k', { direction: 'read', bytes }, ['READ'])
  read(3)
  read(1)
  const third = read(1)
  read(2)
  t.strictSame([first.sent.length, second.sent.length], [1, 3], 'the fourth goes behind two bytes')
  answer(second)
  await third
  read(1)
  t.strictSame([first.sent.length, second.sent.length], [1, 1])
})

t.test('for each server and direction 2 MiB are under way at once, and what waits is timed', async (t) => {
  const { lanes, reading, writing, small } = await open(t)
  const [first] = reading as [FakeConnection]
  const count = () => reading.reduce((sum, { sent }) => sum + sent.length, 0)
  const span = { queuedMs: 0 }
  lanes.transfer('k', { direction: 'read', bytes: MIB }, ['READ'])
  lanes.transfer('k', { direction: 'read', bytes: MIB }, ['READ'])
  let settled = 0
  const transfer = { direction: 'read', bytes: 16 * MIB, span, onSettled: () => settled++ } as const
  const waiting = lanes.transfer('k', transfer, ['READ'])
  const patient = lanes.transfer('k', { direction: 'read', bytes: 1 }, ['READ'])
  t.equal(count(), 2)
  lanes.transfer('k', { direction: 'write', bytes: 1 }, ['WRITE'])
  t.equal(writing[0]?.sent.length, 1, 'the other direction is free')
  small.addresses = ['b:2']
  lanes.transfer('other', { direction: 'read', bytes: 1 }, ['READ'])
  t.equal(count(), 3, 'so is another server')
  small.addresses = ['a:1']
  for (const connection of reading) answer(connection)
  await new Promise(setImmediate)
  t.equal(count(), 1, 'a transfer that is larger than the window goes alone')
  t.ok(span.queuedMs > 0)
  for (const connection of reading) answer(connection, 'value')
  t.strictSame(await waiting, ['value'])
  t.equal(settled, 1)
  await new Promise(setImmediate)
  answer(first)
  for (const connection of reading) answer(connection)
  await patient
})

t.test(
  'when a transfer is not answered in time, those that wait fail, and its bytes stay under way',
  async (t) => {
    const { lanes, reading, expire } = await open(t)
    let settled = 0
    const transfer = { direction: 'read', bytes: 2 * MIB, onSettled: () => settled++ } as const
    const sent = lanes.transfer('k', transfer, ['READ'])
    const waiting = lanes.transfer('k', transfer, ['READ'])
    expire()
    await t.rejects(sent, TimeLimitError)
    await t.rejects(waiting, TimeLimitError)
    t.equal(settled, 1, 'nothing was sent for the second one')
    const next = lanes.transfer('k', transfer, ['READ'])
    t.equal(reading.flatMap(({ sent }) => sent).length, 1, 'the client library still waits for the answer')
    reading[0]?.sent.splice(0)[0]?.reject(new Error('closed'))
    await new Promise(setImmediate)
    t.equal(settled, 2)
    for (const connection of reading) answer(connection)
    await next
  },
)

t.test('a check that is late says nothing while another connection brings answers', async (t) => {
  const { lanes, connections, expire } = await open(t)
  const [last] = connections.slice(-1) as [FakeConnection]
  const checking = lanes.check('k')
  for (const connection of connections.slice(0, -1)) answer(connection)
  await new Promise(setImmediate)
  expire()
  t.strictSame(await checking, [undefined])
  t.ok(connections.every(({ renewed }) => renewed.length === 0))

  // Only this connection is dead. After some time it alone is replaced.
  for (let checks = 1; checks < 4; checks++) {
    t.equal(last.renewed.length, 0)
    const checking = lanes.check('k')
    for (const connection of connections.slice(0, -1)) answer(connection)
    await new Promise(setImmediate)
    expire()
    await checking
  }
  t.strictSame(last.renewed, [['a:1']])
  t.ok(connections.slice(0, -1).every(({ renewed }) => renewed.length === 0))
})

t.test(
  'when a server has sent nothing at all, all connections are replaced, and it is not asked then',
  async (t) => {
    const { lanes, connections, expire } = await open(t)
    for (const connection of connections) connection.addresses = ['a:1', 'b:2']
    const checking = lanes.check('k')
    for (const { sent } of connections) sent[1]?.resolve(1)
    await new Promise(setImmediate)
    expire()
    t.match(await checking, [TimeLimitError, undefined])
    t.strictSame(
      connections.map(({ renewed }) => renewed),
      connections.map(() => [['a:1']]),
    )
  },
)

t.test('a primary that names another one is well, and one with an error is not', async (t) => {
  const { lanes, connections } = await open(t)
  const answerWith = async (message: string) => {
    const checking = lanes.check('k')
    for (const connection of connections.slice(1)) answer(connection)
    connections[0]?.sent.splice(0)[0]?.reject(new Error(message))
    return checking
  }
  t.strictSame(await answerWith('MOVED 1 b:2'), [undefined])
  t.match(await answerWith('LOADING'), [{ message: 'LOADING' }])
})

t.test(
  'a cluster is offline until each connection knows its primaries, and those that do not try again',
  async (t) => {
    const { lanes, connections, small, checks } = await open(t)
    small.addresses = []
    const checking = lanes.check('k')
    for (const connection of connections) answer(connection)
    t.match(await checking, [{ name: 'Error', message: 'The client is offline' }])
    t.strictSame([small.renewed, checks.renewed], [[[]], []])
  },
)

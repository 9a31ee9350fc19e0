import t from 'tap'
import { loadConfig } from '../../src/plugins/config.ts'

t.test('without any variable the service listens on port 5000 and keeps objects in memory', async (t) => {
  const { MAX_STORE_BYTES, MAX_CONNECTIONS, VERSION, ...settings } = loadConfig({ PATH: '/bin' })
  t.strictSame(settings, {
    HOST: 'localhost',
    PORT: 5000,
    LOG_LEVEL: 'info',
    STORAGE: { engine: 'memory' },
    STORAGE_KEY_PREFIX: 'storage-api:',
    MAX_OBJECT_BYTES: 16_777_216,
    TOKENS: [],
    HEADERS_TIMEOUT_SECONDS: 15,
    REQUEST_TIMEOUT_SECONDS: 120,
    RESPONSE_TIMEOUT_SECONDS: 300,
    STALL_TIMEOUT_SECONDS: 60,
    KEEP_ALIVE_SECONDS: 72,
    FAULTS: [],
    DRAIN_SECONDS: 5,
    REVISION: 'unknown',
  })
  t.match(VERSION, /^\d+\.\d+\.\d+$/)
  t.ok(MAX_STORE_BYTES > 0)
  t.ok(MAX_CONNECTIONS > 0)
})

t.test('MAX_STORE_BYTES is half of the memory that the process may use, and all of it at most', async (t) => {
  const memories: [number, number, number][] = [
    [2 ** 29, 2 ** 34, 2 ** 28],
    [2 ** 64, 2 ** 34, 2 ** 33],
    [0, 2 ** 34, 2 ** 33],
  ]
  for (const [constrained, total, expected] of memories) {
    t.intercept(process, 'constrainedMemory', { value: () => constrained })
    const { loadConfig } = await t.mockImport<typeof import('../../src/plugins/config.ts')>(
      '../../src/plugins/config.ts',
      { 'node:os': { totalmem: () => total } },
    )
    t.equal(loadConfig({}).MAX_STORE_BYTES, expected)
    const tooMuch = `${2 * expected + 1}`
    t.throws(() => loadConfig({ MAX_STORE_BYTES: tooMuch }), {
      message: `MAX_STORE_BYTES must be an integer from 0 to ${2 * expected} bytes, not "${tooMuch}"`,
    })
  }
})

t.test(
  'MAX_CONNECTIONS is what the memory beside the store allows, and the open files at most',
  async (t) => {
    const MIB = 2 ** 20
    const cases: [memoryBytes: number, env: NodeJS.ProcessEnv, openFiles: unknown, expected: number][] = [
      [512 * MIB, {}, 20_000, 3072],
      [512 * MIB, { MAX_STORE_BYTES: `${320 * MIB}` }, 20_000, 1024],
      [512 * MIB, { MAX_STORE_BYTES: `${512 * MIB}` }, 20_000, 100],
      [512 * MIB, {}, 1024, 924],
      [64 * 1024 * MIB, {}, 20_000, 19_900],
      [64 * 1024 * MIB, {}, 'unlimited', 1_043_456],
      [512 * MIB, { MAX_CONNECTIONS: '7' }, 20_000, 7],
    ]
    for (const [memoryBytes, env, soft, expected] of cases) {
      t.intercept(process, 'constrainedMemory', { value: () => memoryBytes })
      t.intercept(process.report, 'getReport', { value: () => ({ userLimits: { open_files: { soft } } }) })
      const { loadConfig } = await t.mockImport<typeof import('../../src/plugins/config.ts')>(
        '../../src/plugins/config.ts',
        { 'node:os': { totalmem: () => memoryBytes } },
      )
      t.equal(loadConfig(env).MAX_CONNECTIONS, expected, JSON.stringify([memoryBytes, env, soft]))
      t.throws(() => loadConfig({ MAX_CONNECTIONS: '2000000' }), {
        message: /^MAX_CONNECTIONS must be an integer from 1 to \d+, not "2000000"$/,
      })
    }
  },
)

t.test('a variable that is set but empty counts as not set', async (t) => {
  t.equal(loadConfig({ PORT: '', LOG_LEVEL: '' }).PORT, 5000)
})

t.test('values are read as what they are', async (t) => {
  const env = { PORT: '0', MAX_OBJECT_BYTES: '1', MAX_STORE_BYTES: '2', LOG_LEVEL: 'debug', HOST: '::1' }
  t.match(loadConfig(env), {
    PORT: 0,
    MAX_OBJECT_BYTES: 1,
    MAX_STORE_BYTES: 2,
    LOG_LEVEL: 'debug',
    HOST: '::1',
  })
})

t.test('a wrong value is refused in one line: the variable, the value, what is allowed', async (t) => {
  const levels = 'fatal, error, warn, info, debug, trace, silent'
  const port = 'PORT must be an integer from 0 to 65535'
  const object = 'MAX_OBJECT_BYTES must be an integer from 0 to 1073741824 bytes'
  const cases: [NodeJS.ProcessEnv, string][] = [
    [{ PORT: 'abc' }, `${port}, not "abc"`],
    [{ PORT: '65536' }, `${port}, not "65536"`],
    [{ PORT: '-1' }, `${port}, not "-1"`],
    [{ PORT: '80.5' }, `${port}, not "80.5"`],
    [{ PORT: '5e3' }, `${port}, not "5e3"`],
    [{ PORT: ' ' }, `${port}, not " "`],
    [{ PORT: 'true' }, `${port}, not "true"`],
    [{ PORT: '0x50' }, `${port}, not "0x50"`],
    [{ MAX_OBJECT_BYTES: '-1' }, `${object}, not "-1"`],
    [{ MAX_OBJECT_BYTES: '16MiB' }, `${object}, not "16MiB"`],
    [{ LOG_LEVEL: 'INFO' }, `LOG_LEVEL must be one of ${levels}, not "INFO"`],
    [{ HOST: 'a b' }, 'HOST must be an IP address or a host name, not "a b"'],
    [{ DRAIN_SECONDS: 'x\ny' }, 'DRAIN_SECONDS must be an integer from 0 to 3600 seconds, not "x\\ny"'],
    [{ PORT: 'abc', HOST: '/' }, `HOST must be an IP address or a host name, not "/"; ${port}, not "abc"`],
  ]
  for (const [env, message] of cases) t.throws(() => loadConfig(env), { message }, message)
})

t.test('tokens come from a variable or from a file, several at once', async (t) => {
  const dir = t.testdir({ tokens: 'one\ntwo, three\n\n', empty: '\n', binary: 'one\0two' })
  t.strictSame(loadConfig({ AUTH_TOKENS: ' one,two three== ' }).TOKENS, ['one', 'two', 'three=='])
  t.strictSame(loadConfig({ AUTH_TOKENS_FILE: `${dir}/tokens` }).TOKENS, ['one', 'two', 'three'])
  t.strictSame(loadConfig({ AUTH_TOKENS: '', AUTH_TOKENS_FILE: '' }).TOKENS, [])
  const tokens = 'tokens of letters, digits and -._~+/, separated by commas or white space'
  const cases: [NodeJS.ProcessEnv, string][] = [
    ...['s€cret', 'secret=s', ',', ' '].map((wrong): [NodeJS.ProcessEnv, string] => [
      { AUTH_TOKENS: wrong },
      `AUTH_TOKENS must be ${tokens}`,
    ]),
    ...['empty', 'binary', 'missing', ''].map((name): [NodeJS.ProcessEnv, string] => [
      { AUTH_TOKENS_FILE: `${dir}/${name}` },
      `AUTH_TOKENS_FILE must name a readable file of ${tokens}, not "${dir}/${name}"`,
    ]),
    [
      { AUTH_TOKENS: 'a', AUTH_TOKENS_FILE: `${dir}/tokens` },
      'AUTH_TOKENS and AUTH_TOKENS_FILE must not both be set',
    ],
  ]
  for (const [env, message] of cases) t.throws(() => loadConfig(env), { message }, message)
})

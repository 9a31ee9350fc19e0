import t from 'tap'
import { loadConfig } from '../../src/plugins/config.ts'

const storage = (env: NodeJS.ProcessEnv) => loadConfig(env).STORAGE

t.test('a URL names the engine, where it is, and who asks', async (t) => {
  const nothing = { username: undefined, password: undefined, database: 0, ca: undefined }
  t.strictSame(storage({ STORAGE_URL: 'memory:' }), { engine: 'memory' })
  t.strictSame(storage({ STORAGE_URL: 'redis://valkey' }), {
    ...{ engine: 'redis', isCluster: false, isTls: false, ...nothing },
    addresses: [{ host: 'valkey', port: 6379 }],
  })
  t.strictSame(storage({ STORAGE_URL: 'rediss://user:p%40ss%2f@[::1]:7000/3' }), {
    ...{ engine: 'rediss', isCluster: false, isTls: true, ...nothing },
    ...{ username: 'user', password: 'p@ss/', database: 3 },
    addresses: [{ host: '::1', port: 7000 }],
  })
  t.strictSame(storage({ STORAGE_URL: 'rediss+cluster://:secret@a:1,b-1.c,10.0.0.1:65535' }), {
    ...{ engine: 'rediss+cluster', isCluster: true, isTls: true, ...nothing, password: 'secret' },
    addresses: [
      { host: 'a', port: 1 },
      { host: 'b-1.c', port: 6379 },
      { host: '10.0.0.1', port: 65_535 },
    ],
  })
})

t.test('a wrong URL is refused in one line that shows nothing of it', async (t) => {
  const wrong = [
    ...['redis', 'redis:', 'redis://', 'redis://secret@', 'http://secret@a', 'memory:secret', 'redis://a b'],
    ...['redis://secret@a/x', 'redis://a,b', 'redis+cluster://secret@a/1', 'redis://secret@a:65536'],
    ...['redis://secret@a:0', 'redis://:secret%zz@a', 'redis://:secret@a\n', 'redis://:secr@et@a'],
  ]
  const message =
    'STORAGE_URL must be memory:, redis://[user[:password]@]host[:port][/database] or redis+cluster://[user[:password]@]host[:port],..., with rediss for TLS'
  for (const STORAGE_URL of wrong) t.throws(() => storage({ STORAGE_URL }), { message }, STORAGE_URL)
})

t.test('the password and the authorities may come from files', async (t) => {
  const dir = t.testdir({ password: 'secret\n', ca: 'PEM', empty: '\n' })
  const file = (name: string) => `${dir}/${name}`
  const env = { STORAGE_URL: 'rediss://user@a' }
  t.match(storage({ ...env, STORAGE_PASSWORD_FILE: file('password'), STORAGE_CA_FILE: file('ca') }), {
    ...{ username: 'user', password: 'secret', ca: 'PEM' },
  })
  const cases: [NodeJS.ProcessEnv, string][] = [
    ...['empty', 'missing'].flatMap((name): [NodeJS.ProcessEnv, string][] =>
      ['STORAGE_PASSWORD_FILE', 'STORAGE_CA_FILE'].map((variable) => [
        { ...env, [variable]: file(name) },
        `${variable} must name a readable file that is not empty, not "${file(name)}"`,
      ]),
    ),
    [
      { STORAGE_URL: 'redis://:secret@a', STORAGE_PASSWORD_FILE: file('password') },
      'STORAGE_PASSWORD_FILE must not be set if STORAGE_URL has a password',
    ],
    [
      { STORAGE_URL: 'redis://a', STORAGE_CA_FILE: file('ca') },
      'STORAGE_CA_FILE must not be set without rediss or rediss+cluster in STORAGE_URL',
    ],
    [
      { STORAGE_URL: 'redis://a', MAX_OBJECT_BYTES: '536870913' },
      'MAX_OBJECT_BYTES must be at most 536870831 bytes with redis',
    ],
    ...['a b', 'a{', '{a}'].map((prefix): [NodeJS.ProcessEnv, string] => [
      { STORAGE_KEY_PREFIX: prefix },
      `STORAGE_KEY_PREFIX must be 1 to 64 visible ASCII characters without { and }, not "${prefix}"`,
    ]),
  ]
  for (const [env, message] of cases) t.throws(() => storage(env), { message }, message)
})

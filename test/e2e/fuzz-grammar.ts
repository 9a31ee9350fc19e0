/** The parts of random requests, as latin1. */
import { METHODS } from 'node:http'

/** A text in ids, queries, fields and bodies. The service itself never sends it. */
export const CANARY = 'zq9canary'

const words = (text: string) => text.split(' ')

export const COMMON_METHODS = words('PUT PUT PUT GET GET GET HEAD DELETE')
export const OTHER_METHODS = METHODS.filter((method) => method !== 'CONNECT')

export const ODD_IDS = [
  ...words('. .. %2e %2E%2e %00 %0d%0a %7f %C2%85 % %z %zz %ff %c3 %ED%A0%80 a/b a%2Fb %2F %252F __proto__'),
  ...words('constructor %F0%9F%98%80 %C3%A9 ~!$&\'()*+,;=:@ "<>|{}^`\\ a#b #'),
  ...['', 'x'.repeat(512), 'x'.repeat(513), '%C3%A9'.repeat(256), '%C3%A9'.repeat(257), 'x'.repeat(8000)],
]
export const TTLS = ['', ...words('1 1 2 60 316224000 316224001 0 -1 1.5 1e1 x %zz %31 1&ttl=2')]
export const LIMITS = ['', ...words('1 2 7 100 1000 1001 0 -1 1e2 x 1&limit=2')]
export const TEXTS = ['', ...words(`${CANARY} a %zz %ff %C3%A9 = ! %00 a&prefix=b a&cursor=b __proto__`)]

export const OTHER_PATHS = [
  ...words(`/ // /api /api/ /api/buckets/ /api/buckets /nowhere /${CANARY}.php?x=${CANARY} * /%zz /? /#`),
  ...words(
    `/livez /readyz /livez/ /livez?${CANARY} /livez#x /LIVEZ /../livez /api/../livez http:// http://a`,
  ),
]
/** Pages that are expensive for the service. */
export const PAGES = [
  ...words(
    `/metrics /openapi.json /docs /docs/ /docs?${CANARY} /docs/json /docs/yaml /docs/${CANARY} /docs/docs`,
  ),
  ...words(`/docs/static/ /docs/static/index.html /docs/static/${CANARY} /docs/static/..%2fpackage.json`),
  ...words('/docs/static/%00 /docs/static/%zz /docs/static/logo.svg /docs/static/swagger-initializer.js'),
]

export const FIELDS = Object.entries({
  Range: words('bytes=0- bytes=0-0 bytes=-5 bytes=-0 bytes=5-2 bytes=99999- bytes=0-1,3-4 bytes= x=0-1'),
  'Content-Type': ['', ...words(`application/json text/plain multipart/form-data x ${CANARY}/x a/b;c="`)],
  'Content-Encoding': ['', ...words(`gzip identity Identity br,gzip ${CANARY}`)],
  'Content-Range': ['bytes 0-1/2', CANARY],
  Authorization: ['', `Bearer ${CANARY}`, `Basic ${CANARY}`],
  'Accept-Encoding': ['gzip, br', 'identity;q=0, *;q=0'],
  Accept: ['text/html', `${CANARY}/*`],
  Origin: [`http://${CANARY}`],
  Cookie: [`${CANARY}=${CANARY}`],
  'X-Forwarded-For': [CANARY],
  'X-HTTP-Method-Override': ['DELETE'],
  'If-Modified-Since': ['Sun, 06 Nov 1994 08:49:37 GMT', CANARY],
  'If-Unmodified-Since': ['Sun, 06 Nov 1994 08:49:37 GMT', CANARY],
  TE: ['trailers'],
  Connection: ['keep-alive', 'x', CANARY],
  'Keep-Alive': ['timeout=1, max=1'],
  [`X-${CANARY}`]: ['', ...words(`${CANARY} \t " \\ %zz \x80\xff`)],
  ['__proto__']: [CANARY],
  constructor: [CANARY],
}).flatMap(([name, values]) => values.map((value) => `${name}: ${value}\r\n`))

export const HOSTS = ['', ...words('a a a localhost:80 [::1]:80 a.b-c_d')].map((host) => `Host: ${host}\r\n`)

/** Fields that make an HTTP/1.1 request the last one of its connection. */
export const CLOSING_HEADERS = [
  ...[
    '',
    'Host: a b\r\n',
    `Host: ${CANARY}/\r\n`,
    'Host: a, b\r\n',
    'Host: a:b\r\n',
    'Host: a\r\nhost: a\r\n',
  ],
  ...['Connection: close', 'Connection: x, Close', 'Expect: cake', `Expect: ${CANARY}`].map(
    (field) => `Host: a\r\n${field}\r\n`,
  ),
  'Host: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n',
  'Host: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n',
]

export const MALFORMED_METHODS = [
  '',
  ' ',
  ...words(`get Put GE(T FROB ${CANARY} PRI CONNECT \0 \xff`),
  'GET GET',
  'P UT',
]
export const MALFORMED_VERSIONS = [
  ...['', 'HTTP/1.1 ', ...words(`HTTP/2.0 HTTP/0.9 HTTP/1.2 http/1.1 HTTP/1 HTTP/1.10 HTP/1.1 ${CANARY}`)],
]
export const MALFORMED_TARGETS = [...['', '/a b', '/\t', ...words(`a:80 api/buckets/a /\xe9 /\0 ? # \\`)]]
export const MALFORMED_FRAMINGS = [
  ...['', '1, 1', '1 1', ...words(`+1 -1 0x1 1e3 x ${CANARY} 99999999999999999999 18446744073709551617`)].map(
    (length) => `Content-Length: ${length}\r\n`,
  ),
  ...['', 'gzip, chunked', 'chunked, gzip', ...words(`chunked,chunked gzip xchunked identity ${CANARY}`)].map(
    (coding) => `Transfer-Encoding: ${coding}\r\n`,
  ),
  'Content-Length: 1\r\nContent-Length: 2\r\n',
  'Content-Length: 1\r\nTransfer-Encoding: chunked\r\n',
  'Transfer-Encoding: chunked\r\nContent-Length: 1\r\n',
  'Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n',
]
export const MALFORMED_LINES = [
  ...[
    'nocolon\r\n',
    ': x\r\n',
    'X : y\r\n',
    ' X: y\r\n',
    'X: y\r\n z\r\n',
    'X: y\n',
    'X: \0\r\n',
    'X: a\rb\r\n',
  ],
  ...['\n', '\r', '\xff: y\r\n', `X: ${'y'.repeat(17_000)}\r\n`, `${'X'.repeat(17_000)}: y\r\n`],
  ...['X: y\r\n'.repeat(101), 'X:\r\n'.repeat(3500)],
]
export const MALFORMED_CHUNKS = [
  ...[
    'zz\r\nx\r\n',
    '0x1\r\nx\r\n',
    '-1\r\n',
    '\r\n',

    '1\nx\n0\n\n',
    '1\r\nxy0\r\n\r\n',
    '1;a\nb\r\nx\r\n',
  ],
  ...[`${CANARY}\r\n`, `${'f'.repeat(17)}\r\nx\r\n`, `1;${'a'.repeat(20_000)}\r\nx\r\n`],
  `1\r\nx\r\n0\r\nX: ${'y'.repeat(20_000)}\r\n\r\n`,
]
export const GARBAGE = [
  ...['\r\n', '\n', '\0', `${CANARY}\r\n\r\n`, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
]

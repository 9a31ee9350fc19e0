import { join } from 'node:path'
import t, { type Test } from 'tap'
import { run } from '../process.ts'
import { type Manifest, stack, stacks } from './manifests.ts'

/** The module with the type of a document. The types of Kubernetes are of release 1.30. */
function typeOf({ apiVersion, kind }: Manifest): [module: string, type: string] {
  const [group, version] = apiVersion.includes('/') ? apiVersion.split('/') : ['core', apiVersion]
  if (group?.endsWith('coreos.com'))
    return [`@kubernetes-models/prometheus-operator/${apiVersion}`, `I${kind}`]
  return [`kubernetes-types/${group?.split('.')[0]}/${version}.js`, kind]
}

/** The compiler's error for each document, by its index. */
async function mistakes(t: Test, documents: Manifest[]): Promise<Map<number, string>> {
  const sources = documents.map((document, index) => {
    const [module, type] = typeOf(document)
    return [
      `${index}.ts`,
      `import type { ${type} } from '${module}'\nexport const document: ${type} = ${JSON.stringify(document)}\n`,
    ]
  })
  const tsconfig = { extends: join(process.cwd(), 'tsconfig.json'), include: ['*.ts'] }
  const directory = t.testdir({ ...Object.fromEntries(sources), 'tsconfig.json': JSON.stringify(tsconfig) })
  const tsc = await run(['node_modules/.bin/tsc', '--project', directory])
  const found = [...tsc.stdout.matchAll(/(\d+)\.ts\(.*?: (error .*)/g)]
  if ((tsc.status === 0) !== (found.length === 0)) throw new Error(`tsc: ${tsc.stdout}${tsc.stderr}`)
  return new Map(found.map(([, index, error = '']) => [Number(index), error]))
}

const documents = [
  ...new Map(
    stacks.flatMap(({ manifests }) => manifests.map((manifest) => [JSON.stringify(manifest), manifest])),
  ).values(),
]

t.test('each document matches the API of Kubernetes 1.30 or of the Prometheus Operator', async (t) => {
  const found = await mistakes(t, documents)
  documents.forEach((document, index) => {
    t.equal(found.get(index), undefined, `${document.kind} ${document.metadata.name}: no mistakes`)
  })
})

t.test('the compiler finds an unknown field in each document', async (t) => {
  const found = await mistakes(
    t,
    documents.map((document) => ({ ...document, unknown: true })),
  )
  documents.forEach((document, index) => {
    t.match(found.get(index), /unknown.* does not exist/, `${document.kind} ${document.metadata.name}`)
  })
})

t.test('the compiler finds a nested unknown field, wrong type and missing field', async (t) => {
  const wrong = structuredClone(stack.all('Deployment'))
  type Three = [Manifest<'Deployment'>, Manifest<'Deployment'>, Manifest<'Deployment'>]
  const [unknown, type, missing] = wrong as Three
  Object.assign(unknown.spec.template.spec.containers[0] ?? {}, { unknown: true })
  Object.assign(type.spec, { replicas: '1' })
  Object.assign(missing.spec.template.spec.containers[0] ?? {}, { name: undefined })
  const found = await mistakes(t, [unknown, type, missing])
  t.match(found.get(0), /unknown.* does not exist/)
  t.match(found.get(1), /'string' is not assignable to type 'number'/)
  t.match(found.get(2), /'name' is missing/)
})

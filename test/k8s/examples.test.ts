/** The examples of overlays in docs/kubernetes.md. */
import { join, relative } from 'node:path'
import t from 'tap'
import { parse, stringify } from 'yaml'
import { blocksOf } from '../documents.ts'
import { requireTool } from '../e2e/require-tool.ts'
import { outputOf } from '../process.ts'

requireTool('kubectl', 'version', '--client')

/** The lines of an overlay that may be examples. */
interface Lines {
  images?: object[]
  patches?: object[]
}

/** What kubectl renders of the stack with replicas and Valkey, and with some more lines. */
async function render(lines: Lines): Promise<string> {
  const folder = t.testdir({})
  const k8s = relative(folder, 'k8s')
  const components = ['valkey', 'replicated'].map((name) => join(k8s, 'components', name))
  t.testdir({ 'kustomization.yaml': stringify({ resources: [k8s], components, ...lines }) })
  return outputOf(['kubectl', 'kustomize', folder])
}

t.test('each example of an overlay in docs/kubernetes.md changes the stack', async (t) => {
  const plain = await render({})
  const examples = blocksOf('docs/kubernetes.md')
    .filter(({ language }) => language === 'yaml')
    .map(({ line, text }) => ({ line, ...(parse(text) as Lines) }))
  for (const { line, images = [], patches = [] } of examples) {
    for (const image of images) t.not(await render({ images: [image] }), plain, `line ${line}`)
    for (const patch of patches) t.not(await render({ patches: [patch] }), plain, `line ${line}`)
  }
})

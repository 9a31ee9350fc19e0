import t from 'tap'
import { type Manifest, stacks } from './manifests.ts'

const byName = (manifests: Manifest[]) =>
  Object.fromEntries(manifests.map((manifest) => [`${manifest.kind} ${manifest.metadata.name}`, manifest]))

for (const stack of stacks) {
  t.test(
    `kubectl, and kustomize with the components in reverse order, render the same ${stack.name}`,
    async (t) => {
      const other = await stack.render('kustomize build', stack.components.toReversed())
      t.equal(other.length, stack.manifests.length, 'as many')
      t.strictSame(byName(stack.manifests), byName(other), 'the same')
    },
  )
}

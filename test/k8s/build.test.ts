import t from 'tap'
import { FOLDERS, render } from './manifests.ts'

for (const [name, folder] of FOLDERS) {
  t.test(`kubectl and kustomize make the same of ${name}`, async (t) => {
    t.strictSame(render(folder, 'kubectl kustomize'), render(folder, 'kustomize build'))
  })
}

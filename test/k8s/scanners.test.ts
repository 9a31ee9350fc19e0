import t from 'tap'
import { lacking, run } from '../process.ts'
import { type Stack, stack, stacks } from './manifests.ts'

/** What kube-score criticizes, one line each. */
async function findings({ manifests }: Stack, ...flags: string[]): Promise<string[]> {
  const input = manifests.map((manifest) => JSON.stringify(manifest)).join('\n---\n')
  const score = ['kube-score', 'score', '--kubernetes-version=v1.30', '--output-format=ci', ...flags, '-']
  const { stdout, stderr } = await run(score, { input })
  if (!stdout.includes('[OK]')) throw new Error(`kube-score: ${stdout}${stderr}`)
  return stdout.split('\n').filter((line) => /^\[(WARNING|CRITICAL)\]/.test(line))
}

t.test('kube-score finds nothing that is not waived', { skip: lacking('kube-score') }, async (t) => {
  const waived = await findings(stack, '--disable-ignore-checks-annotations')
  t.match(waived.join('\n'), /Deployment: /, 'without the waivers it finds something')
  for (const stack of stacks) t.strictSame(await findings(stack), [], stack.name)
})

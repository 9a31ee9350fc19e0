/** Another version of the service, to compare with this one. */
import { existsSync, readFileSync, symlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { outputOf, temporaryDirectory } from '../../test/process.ts'

const LOCK = 'package-lock.json'

/**
 * Builds the service of a folder, or of a git revision in a temporary folder. The temporary folder
 * is removed when this process ends.
 *
 * @returns the folder.
 */
export async function buildCheckout(folderOrRevision: string): Promise<string> {
  const isFolder = existsSync(join(folderOrRevision, LOCK))
  const path = isFolder ? resolve(folderOrRevision) : await extract(folderOrRevision)
  await outputOf(['npm', 'run', 'build'], { cwd: path })
  return path
}

/** Not `git worktree`, because the repository would keep its record if this process is killed. */
async function extract(revision: string): Promise<string> {
  const { path } = temporaryDirectory('bench-checkout')
  await outputOf(['git', 'archive', '--output', join(path, 'archive.tar'), revision])
  await outputOf(['tar', '--extract', '--file', 'archive.tar'], { cwd: path })
  const isSameLock = readFileSync(join(path, LOCK), 'utf8') === readFileSync(LOCK, 'utf8')
  if (isSameLock) symlinkSync(resolve('node_modules'), join(path, 'node_modules'))
  else await outputOf(['npm', 'ci'], { cwd: path })
  return path
}

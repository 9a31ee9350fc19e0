/** The Markdown files of the repository, and what tests need to know of them. */
import { globSync, readFileSync } from 'node:fs'

/** All Markdown files, as paths from the root, README.md first. */
export const DOCUMENTS = globSync(['*.md', '{compose,docs,k8s,scripts,src,test}/**/*.md']).sort(
  (a, b) => Number(b === 'README.md') - Number(a === 'README.md') || (a < b ? -1 : 1),
)

/**
 * How the commands of a block are tested:
 *
 * - `run`: test/e2e/documents.e2e.ts runs the block.
 * - `server`: the same, and the last command, `npm start` or `npm run dev`, runs until it is stopped.
 * - `ci`, if the first line says so: .ci/run has each of the commands.
 * - `cluster`, if the first line says so, or if there is nothing but kubectl: the commands need a cluster.
 * - `example`, if the first line says so: nobody runs the block.
 */
export type Kind = 'run' | 'server' | 'ci' | 'cluster' | 'example'

function kindOf(word: string, text: string): Kind {
  if (word !== '') return word as Kind
  if (/^(?:kubectl | )/.test(text) && !/^(?!kubectl | {2})./m.test(text)) return 'cluster'
  return /npm (?:start|run dev)\n$/.test(text) ? 'server' : 'run'
}

export interface Block {
  file: string
  /** The number of its first line, from 1. */
  line: number
  language: string
  /** Of a block of commands. */
  kind: Kind
  text: string
  /** What the commands print, if a block of `text` follows. */
  output: string | undefined
}

/** A fenced block, indented or not. */
const FENCE = /^( *)```([\w-]*) *(.*)\n((?:.*\n)*?)\1```$/gm

/** The fenced blocks of a document. */
export function blocksOf(file: string): Block[] {
  const page = readFileSync(file, 'utf8')
  const fences = [...page.matchAll(FENCE)]
  return fences.map((fence, i) => {
    const [whole, indentation = '', language = '', word = ''] = fence
    const text = unindent(fence[4] ?? '', indentation)
    const next = fences[i + 1]
    const isNear = next !== undefined && page.slice(fence.index + whole.length, next.index).trim() === ''
    return {
      ...{ file, language, text },
      kind: kindOf(word, text),
      line: page.slice(0, fence.index).split('\n').length,
      output: isNear && next[2] === 'text' ? unindent(next[4] ?? '', next[1] ?? '') : undefined,
    }
  })
}

const unindent = (text: string, indentation: string) => text.replace(RegExp(`^${indentation}`, 'gm'), '')

/** The commands of a document, block by block. */
export const commandsOf = (file: string) => blocksOf(file).filter(({ language }) => language === 'sh')

/** A page without its fenced blocks. */
export const proseOf = (page: string) => page.replace(FENCE, '')

/** The anchors of a page, by GitHub's rule: https://github.com/gjtorikian/html-pipeline, table of contents. */
export function anchorsOf(page: string): Set<string> {
  const seen = new Map<string, number>()
  const headings = [...proseOf(page).matchAll(/^#{1,6} +(.*?)[ #]*$/gm)].map(([, heading = '']) => {
    const anchor = heading
      .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{M}\p{N}\p{Pc}\- ]/gu, '')
      .replaceAll(' ', '-')
    const times = seen.get(anchor) ?? 0
    seen.set(anchor, times + 1)
    return times === 0 ? anchor : `${anchor}-${times}`
  })
  return new Set(headings)
}

/** The links of a page that lead into the repository, as they are written. */
export function linksOf(page: string): string[] {
  const prose = proseOf(page).replace(/`[^`]*`/g, '``')
  const targets = [
    /\]\(<?([^)>\s]+)>?(?:\s+"[^"]*")?\)/g,
    /^\[[^\]]+\]:\s*(\S+)/gm,
    /\b(?:href|src)="([^"]+)"/g,
  ]
  return targets
    .flatMap((pattern) => [...prose.matchAll(pattern)].map(([, target = '']) => target))
    .filter((target) => !/^[a-z]+:/i.test(target))
}

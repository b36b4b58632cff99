// Code in our documents is run by readme.test.ts:
//
//   ```ts                          runs; must be correct TypeScript and end with status 0
//   ```js                          the same, without types
//   ```ts no-run: <why it cannot>  is only shown, and must be correct TypeScript but for packages that the reason names
//   ```text                        right after a block that runs: exactly what that block prints

export interface Fence {
  readonly language: string
  /** What follows the language on the opening line. */
  readonly info: string
  readonly text: string
  /** Of the opening line, from 1. */
  readonly line: number
}

export interface RunBlock {
  readonly language: 'ts' | 'js'
  readonly text: string
  readonly line: number
  /** `undefined`: it may print what it likes. */
  readonly output: string | undefined
}

/** Code that is not run. */
export interface ShownBlock {
  readonly language: 'ts' | 'js'
  readonly text: string
  readonly line: number
  readonly reason: string
}

/** The fenced blocks of a document, in order. Throws for one that is never closed. */
export function fencesOf(markdown: string): Fence[] {
  const fences: Fence[] = []
  let open: { marker: string; language: string; info: string; line: number; content: string[] } | undefined
  for (const [index, row] of markdown.split(/\r?\n/).entries()) {
    if (open === undefined) {
      const opening = /^\s*(`{3,})\s*([^\s`]*)\s*([^`]*)$/.exec(row)
      if (opening === null) continue
      const [, marker = '', language = '', info = ''] = opening
      open = { marker, language, info: info.trim(), line: index + 1, content: [] }
    } else if (row.trim() === open.marker) {
      const { language, info, line, content } = open
      fences.push({ language, info, line, text: content.map((text) => `${text}\n`).join('') })
      open = undefined
    } else {
      open.content.push(row)
    }
  }
  if (open !== undefined) throw new Error(`the block that opens in line ${open.line} is never closed`)
  return fences
}

/** The blocks that are only shown. */
export function shownBlocksOf(markdown: string): ShownBlock[] {
  return fencesOf(markdown).flatMap(({ language, info, line, text }) => {
    const reason = /^no-run: (\S.*)$/.exec(info)?.[1]
    if (reason === undefined || (language !== 'ts' && language !== 'js')) return []
    return [{ language, text, line, reason }]
  })
}

/** The blocks to run. Throws for anything on an opening line of code that is not a reason against running it. */
export function runBlocksOf(markdown: string): RunBlock[] {
  const fences = fencesOf(markdown)
  return fences.flatMap((fence, index) => {
    const { language, info, line, text } = fence
    if (language === 'typescript' || language === 'javascript' || language === 'mjs') {
      throw new Error(`line ${line}: write ts or js`)
    }
    if (language !== 'ts' && language !== 'js') return []
    if (/^no-run: \S/.test(info)) return []
    if (info !== '') throw new Error(`line ${line}: '${info}' is not 'no-run: <reason>'`)
    const next = fences[index + 1]
    return [{ language, line, text, output: next?.language === 'text' ? next.text : undefined }]
  })
}

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import ts from 'typescript'
import { beforeAll, describe, expect, it } from 'vitest'
import { titled } from '../faults/fault-kit.js'
import { leftToLongRuns } from '../support/long.js'
import { fencesOf, type RunBlock, runBlocksOf, type ShownBlock, shownBlocksOf } from './markdown.js'
import { listFiles, root } from './source-file.js'

/** Inside the repository, so that `import … from 'holdfast'` means the built package. */
const workshop = join(root, 'build/readme')

const documents = ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md']
  .map((name) => join(root, name))
  .filter((file) => existsSync(file))
  .concat(listFiles(join(root, 'docs'), '.md'))

interface Placed {
  /** `README.md:12` */
  readonly place: string
  /** In the workshop, without its ending. */
  readonly stem: string
  /** What the document says. */
  readonly document: string
}

/** What `blocksOf` finds in all documents. */
function inDocuments<Block extends { readonly line: number }>(
  blocksOf: (markdown: string) => Block[],
): (Block & Placed)[] {
  return documents.flatMap((file) => {
    const name = relative(root, file)
    const document = readFileSync(file, 'utf8')
    return blocksOf(document).map((block) => ({
      ...block,
      document,
      place: `${name}:${block.line}`,
      stem: join(workshop, `${name.replace(/[^A-Za-z0-9]+/g, '-')}-${block.line}`),
    }))
  })
}

const samples: (RunBlock & Placed)[] = inDocuments(runBlocksOf)
const shown: (ShownBlock & Placed)[] = inDocuments(shownBlocksOf)

/** Whether the compiler says no more of a block than that a package is not here which it is said to need. */
function isExcused(complaint: string, { stem, reason }: ShownBlock & Placed): boolean {
  const [, name] = /: Cannot find module '([^']+)'/.exec(complaint) ?? []
  return (
    complaint.startsWith(`${relative(root, stem)}.mts:`) &&
    name !== undefined &&
    reason.split(/,? /).includes(name)
  )
}

const compilerOptions: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
  types: ['node'],
  typeRoots: [join(root, 'node_modules/@types')],
  strict: true,
  skipLibCheck: true,
}

/** Checks `.mts` files. Returns the compiler's complaints. */
function check(files: readonly string[]): string[] {
  const program = ts.createProgram({ rootNames: files, options: { ...compilerOptions, noEmit: true } })
  return ts.getPreEmitDiagnostics(program).map((complaint) => {
    const text = ts.flattenDiagnosticMessageText(complaint.messageText, '\n')
    if (complaint.file === undefined || complaint.start === undefined) return text
    const { line } = complaint.file.getLineAndCharacterOfPosition(complaint.start)
    return `${relative(root, complaint.file.fileName)}:${line + 1}: ${text}`
  })
}

/** What is left of a sample without its types, which nobody has checked by that. */
function translated(fileName: string, text: string): string {
  // A file alone lies nowhere.
  const { rootDir: _, ...alone } = compilerOptions
  const { outputText, diagnostics } = ts.transpileModule(text, {
    compilerOptions: alone,
    fileName,
    reportDiagnostics: true,
  })
  if (diagnostics !== undefined && diagnostics.length > 0) {
    throw new Error(`${fileName}: ${ts.flattenDiagnosticMessageText(diagnostics[0]?.messageText, ' ')}`)
  }
  return outputText
}

interface Outcome {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs a file in an empty directory of its own. */
function run(file: string): Outcome {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-readme-'))
  try {
    return spawnSync(process.execPath, [file], { cwd: directory, encoding: 'utf8', timeout: 200_000 })
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** What a sample says of each commit that takes long: on a slow disk of its own, or of those of later samples in the same process. */
const SLOW_DISK = /^.*: \d+ records? took [\d.]+ ms to become durable\n/gm

/** All of them take some six seconds of a processor; what takes so long hangs. */
const TOGETHER_LIMIT_MS = 280_000

/** Runs files one after the other in one process, and those after one that ended the process in another. */
function runTogether(files: readonly string[]): Map<string, Outcome> {
  const outcomes = new Map<string, Outcome>()
  for (let rest = files; rest.length > 0; rest = rest.filter((file) => !outcomes.has(file))) {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-readme-'))
    try {
      const report = join(directory, 'report')
      writeFileSync(report, '')
      const args = ['--expose-gc', join(import.meta.dirname, 'run-samples.mjs'), report, ...rest]
      const limits = { encoding: 'utf8', timeout: TOGETHER_LIMIT_MS } as const
      const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: directory, ...limits })
      const lines = readFileSync(report, 'utf8').split('\n').slice(0, -1)
      for (const line of lines) {
        const { file, ...outcome } = JSON.parse(line) as Outcome & { readonly file: string }
        outcomes.set(file, outcome)
      }
      // Killed, it has said nothing of the one that it ran.
      const killed = rest.find((file) => !outcomes.has(file))
      if (killed !== undefined && (status === null || lines.length === 0)) {
        outcomes.set(killed, { status, stdout, stderr })
      }
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  }
  return outcomes
}

function stage(name: string, text: string): string {
  mkdirSync(workshop, { recursive: true })
  const file = join(workshop, name)
  writeFileSync(file, text)
  return file
}

describe('code in the documents', () => {
  beforeAll(() => {
    if (!existsSync(join(root, 'dist/entries/index.js'))) throw new Error('build first: npm run build')
    rmSync(workshop, { recursive: true, force: true })
    for (const { stem, language, text } of shown) {
      if (language === 'ts') stage(`${relative(workshop, stem)}.mts`, text)
    }
    for (const sample of samples) {
      const name = relative(workshop, sample.stem)
      if (sample.language === 'ts') stage(`${name}.mts`, sample.text)
      stage(`${name}.mjs`, sample.language === 'ts' ? translated(`${name}.mts`, sample.text) : sample.text)
    }
  })

  it('that is only shown says which types it needs beside its packages', () => {
    for (const { text, place, document } of shown) {
      for (const [, name = ''] of text.matchAll(/ from '([^'./][^'/]*)'/g)) {
        if (!existsSync(join(root, 'node_modules/@types', name)) || name === 'node') continue
        expect(document, `${place} imports ${name}`).toContain(`\`@types/${name}\``)
      }
    }
  })

  it('is in the README', () => {
    expect(documents).toContain(join(root, 'README.md'))
    expect(samples.map((sample) => sample.place)).toContainEqual(expect.stringMatching(/^README\.md:/))
  })

  // The compiler reads the types of Node.js and of the language for it, which takes longer than all of these samples.
  it.skipIf(leftToLongRuns !== undefined)(
    titled(
      'is correct TypeScript, and the compiler notices a wrong type and a missing export',
      leftToLongRuns,
    ),
    () => {
      const all = [...samples, ...shown].filter(({ language }) => language === 'ts')
      const files = all.map(({ stem }) => `${stem}.mts`)
      const wrong = stage(
        'wrong-type.mts',
        `import { StateError } from 'holdfast'\nexport const n: number = StateError.name\n`,
      )
      const missing = stage('missing.mts', `import { NoSuchThing } from 'holdfast'\nNoSuchThing()\n`)
      // In one compilation, as each has to check the library's types.
      const complaints = check([...files, wrong, missing])
      const those = (file: string) => complaints.filter((each) => each.startsWith(relative(root, file)))
      expect(those(wrong)).toEqual([
        expect.stringContaining("wrong-type.mts:2: Type 'string' is not assignable"),
      ])
      expect(those(missing)).toEqual([expect.stringContaining("no exported member 'NoSuchThing'")])
      const others = complaints.filter((each) => ![...those(wrong), ...those(missing)].includes(each))
      expect(others.filter((each) => !shown.some((block) => isExcused(each, block)))).toEqual([])
    },
  )

  it('is translated', () => {
    expect(translated('a.mts', 'const a: number = 1\nlog(a as never)\n')).toBe(
      'const a = 1;\nlog(a);\nexport {};\n',
    )
    expect(() => translated('a.mts', 'const = 1')).toThrow('a.mts')
  })

  describe('runs as printed:', () => {
    // In a quick run they share a process, which spares most of it: that is the loading of the library.
    let together = new Map<string, Outcome>()
    beforeAll(() => {
      if (leftToLongRuns !== undefined) together = runTogether(samples.map(({ stem }) => `${stem}.mjs`))
    }, 2 * TOGETHER_LIMIT_MS)

    for (const { place, stem, output } of samples) {
      it(place, () => {
        const file = `${stem}.mjs`
        const result = together.get(file) ?? run(file)
        expect(result.stderr.replace(SLOW_DISK, '')).toBe('')
        expect(result.status).toBe(0)
        if (output !== undefined) expect(result.stdout).toBe(output)
      })
    }
  })
})

describe('the rules for code in documents', () => {
  const tick = '```'

  it('find blocks, their language, their line and their output', () => {
    const markdown = `a\n${tick}ts\nlet a = 1\n\n${tick}\nprints\n${tick}text\n1\n${tick}\n${tick}js\nb()\n${tick}\n`
    expect(runBlocksOf(markdown)).toEqual([
      { language: 'ts', line: 2, text: 'let a = 1\n\n', output: '1\n' },
      { language: 'js', line: 10, text: 'b()\n', output: undefined },
    ])
    expect(fencesOf(`${tick}${tick}md\n${tick}ts\n${tick}\n${tick}${tick}`)).toHaveLength(1)
  })

  it('leave out a block only for a reason', () => {
    const shownOnly = { language: 'ts', line: 1, text: 'x\n', reason: 'needs a server' }
    expect(shownBlocksOf(`${tick}ts no-run: needs a server\nx\n${tick}\n${tick}ts\ny\n${tick}`)).toEqual([
      shownOnly,
    ])
    expect(runBlocksOf(`${tick}ts no-run: needs a server\nx\n${tick}`)).toEqual([])
    expect(runBlocksOf(`${tick}sh\nnpm test\n${tick}`)).toEqual([])
    expect(() => runBlocksOf(`${tick}ts no-run\nx\n${tick}`)).toThrow("'no-run' is not")
    expect(() => runBlocksOf(`${tick}typescript\nx\n${tick}`)).toThrow('line 1: write ts or js')
    expect(() => fencesOf(`${tick}ts\nx\n`)).toThrow('line 1 is never closed')
  })

  it('notice a failure, alone and among others', () => {
    const failing = stage('failing.mjs', `console.log('so far')\nthrow new Error('no')\n`)
    const printing = stage('printing.mjs', `console.log('yes')\n`)
    const leaving = stage('leaving.mjs', `process.exit(4)\n`)
    const waiting = stage('waiting.mjs', `await new Promise(() => {})\n`)
    expect(run(failing).status).toBe(1)
    expect(run(printing).stdout).toBe('yes\n')
    const opening = stage(
      'opening.mjs',
      `import { open } from 'node:fs/promises'\nconst leave = async () => void (await open(process.execPath))\nawait leave()\n`,
    )
    const together = runTogether([opening, printing, failing, leaving, waiting])
    // By the one that has left it open, not by whichever runs when the memory happens to be collected.
    expect(together.get(opening)?.stderr).toContain('on garbage collection')
    expect(together.get(printing)).toEqual({ status: 0, stdout: 'yes\n', stderr: '' })
    expect(together.get(failing)).toEqual({
      status: 1,
      stdout: 'so far\n',
      stderr: expect.stringContaining('Error: no'),
    })
    expect(together.get(leaving)).toMatchObject({ status: 4 })
    expect(together.get(waiting)).toMatchObject({ status: 13 })
  })
})

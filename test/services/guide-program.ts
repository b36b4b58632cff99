import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import ts from 'typescript'
import { expect, it } from 'vitest'
import { fencesOf } from '../project/markdown.js'

const root = join(import.meta.dirname, '../..')
/** Inside the repository, so that `import … from 'holdfast'` means the built package. */
const workshop = join(root, 'build/guides')

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

/** What the program reads, and what it is to have written then. */
interface GuideProgram {
  readonly environment: () => { readonly [name: string]: string }
  prepare(): Promise<unknown>
  /** Puts in what the program is waiting for. */
  feed(): Promise<unknown>
  outputs(): Promise<readonly unknown[]>
  readonly expected: readonly unknown[]
  /** Which of the programs of the page. Default 0. */
  readonly place?: number
}

const LIMIT_MS = 120_000

/** The complete program of a page of the guide, as it is printed there, is correct TypeScript, does its work on a real server, and ends at SIGTERM. */
export function guideProgramRuns(page: string, program: GuideProgram): void {
  const { place = 0 } = program
  it(`program ${place + 1} in docs/${page} runs as it is printed`, async () => {
    const fences = fencesOf(readFileSync(join(root, 'docs', page), 'utf8')).filter(
      ({ language, info }) => language === 'ts' && info.startsWith('no-run: needs'),
    )
    const text = fences[place]?.text ?? ''
    const file = join(workshop, `${page}-${place}.mts`)
    mkdirSync(workshop, { recursive: true })
    writeFileSync(file, text)
    expect(complaints(file)).toEqual([])
    const script = file.replace(/\.mts$/, '.mjs')
    writeFileSync(script, ts.transpileModule(text, { compilerOptions, fileName: file }).outputText)
    await program.prepare()
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-guide-'))
    const env = { ...process.env, ...program.environment() }
    const child = spawn(process.execPath, [script], {
      cwd: folder,
      env,
      stdio: ['ignore', 'inherit', 'inherit'],
    })
    const ended = new Promise<number | null>((resolve) => child.on('exit', resolve))
    try {
      await program.feed()
      await expect
        .poll(() => program.outputs(), { timeout: LIMIT_MS, interval: 200 })
        .toEqual(program.expected)
      expect(isRunning(child)).toBe(true)
      child.kill('SIGTERM')
      expect(await ended).toBe(0)
    } finally {
      child.kill('SIGKILL')
      await ended
      await rm(folder, { recursive: true, force: true })
    }
  })
}

const isRunning = ({ exitCode, signalCode }: ChildProcess) => exitCode === null && signalCode === null

function complaints(file: string): string[] {
  const checked = ts.createProgram({ rootNames: [file], options: { ...compilerOptions, noEmit: true } })
  return ts
    .getPreEmitDiagnostics(checked)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
}

const MINUTE_MS = Date.UTC(2026, 0, 15, 8)
/** Usage of two minutes, by event time: the later minute closes the earlier one, and stays open. */
export const USAGE_PER_MINUTE = [
  { tenant: 'acme', tokens: 100, atMs: MINUTE_MS },
  { tenant: 'acme', tokens: 20, atMs: MINUTE_MS + 30_000 },
  { tenant: 'acme', tokens: 3, atMs: MINUTE_MS + 120_000 },
]
export const TOKENS_PER_MINUTE = [{ tenant: 'acme', minute: MINUTE_MS, tokens: 120 }]

/** Usage that exceeds a budget of a million tokens once. */
export const USAGE_BEYOND_BUDGET = [
  { tenant: 'acme', tokens: 999_999 },
  { tenant: 'other', tokens: 5 },
  { tenant: 'acme', tokens: 2 },
  { tenant: 'acme', tokens: 2 },
]

import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'

const repositoryRoot: string = resolve(import.meta.dirname, '../..')
const build = join(repositoryRoot, 'build')
/** Files of an older state of the sources are removed when they have not been made for so long. */
const KEPT_MS = 3_600_000

/** The sources as JavaScript, for child processes: Node 20 runs no TypeScript, and `dist/` may be old or absent. */
export interface CompiledSources {
  /** The JavaScript of a TypeScript file, named by its path in the repository: `'test/faults/children/x.ts'`. */
  pathOf(sourcePath: string): string
}

/**
 * Turns `src/` and the child scripts under `test/faults/children/` into JavaScript, file by file and without
 * checking types. The result keeps the folders, so that relative imports and workers work, and lies under `build/`, so that
 * `node_modules` and `"type": "module"` are found above it. It is named by what it was made of: whoever asks first makes it,
 * and all that run meanwhile or later share it.
 */
export async function compileSources(): Promise<CompiledSources> {
  const sources = await readSources()
  const compiler = await readFile(join(repositoryRoot, 'node_modules/typescript/package.json'), 'utf8')
  const hash = createHash('sha256').update(JSON.stringify([compiler, [...sources]]))
  const target = join(build, `sources-${hash.digest('hex').slice(0, 16)}`)
  if (!existsSync(target)) await make(target, sources)
  return { pathOf: (sourcePath) => join(target, javaScriptName(sourcePath)) }
}

async function readSources(): Promise<Map<string, string>> {
  const sources = new Map<string, string>()
  for (const folder of ['src', 'test/faults/children']) {
    for (const entry of (await readdir(join(repositoryRoot, folder), { recursive: true })).sort()) {
      if (!entry.endsWith('.ts') || entry.endsWith('.test.ts') || entry.endsWith('.d.ts')) continue
      const path = join(folder, entry)
      sources.set(path, await readFile(join(repositoryRoot, path), 'utf8'))
    }
  }
  return sources
}

/** Under another name first: what has its own name is whole. */
async function make(target: string, sources: ReadonlyMap<string, string>): Promise<void> {
  await removeOld()
  // Loading the compiler takes longer than most tests: only where something is to be compiled.
  const { default: ts } = await import('typescript')
  const { ScriptTarget, ModuleKind } = ts
  const compilerOptions = {
    target: ScriptTarget.ES2022,
    module: ModuleKind.ESNext,
    verbatimModuleSyntax: true,
  }
  const begun = join(build, `sources-${randomBytes(8).toString('hex')}.begun`)
  const isBuilt = await buildIsFresh()
  for (const [path, text] of sources) {
    const output = join(begun, javaScriptName(path))
    await mkdir(dirname(output), { recursive: true })
    const built = join(repositoryRoot, 'dist', relative('src', javaScriptName(path)))
    if (isBuilt && path.startsWith('src/')) {
      await copyFile(built, output)
      continue
    }
    const { outputText } = ts.transpileModule(text, { fileName: path, compilerOptions })
    await writeFile(output, outputText)
  }
  try {
    await rename(begun, target)
  } catch (error) {
    // Somebody else was faster, and made the same.
    await rm(begun, { recursive: true })
    if (!existsSync(target)) throw error
  }
}

interface Bootstrap {
  inspectBuild(root: string): { readonly signature: readonly string[]; readonly missing: readonly string[] }
}

/** Whether `dist/` is what the sources give, as far as scripts/bootstrap.mjs knows: then it need not be made once more. */
async function buildIsFresh(): Promise<boolean> {
  const stamp = await readFile(join(build, 'bootstrap.json'), 'utf8').catch(() => undefined)
  const { inspectBuild } = (await import(join(repositoryRoot, 'scripts/bootstrap.mjs'))) as Bootstrap
  const { signature, missing } = inspectBuild(repositoryRoot)
  return missing.length === 0 && stamp === JSON.stringify(signature)
}

async function removeOld(): Promise<void> {
  await mkdir(build, { recursive: true })
  for (const name of await readdir(build)) {
    const path = join(build, name)
    if (!name.startsWith('sources-')) continue
    const made = await stat(path).catch(() => undefined)
    if (made !== undefined && Date.now() - made.mtimeMs < KEPT_MS) continue
    await rm(path, { recursive: true, force: true })
  }
}

function javaScriptName(sourcePath: string): string {
  return sourcePath.replace(/\.ts$/, '.js')
}

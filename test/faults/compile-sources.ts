import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'
import ts from 'typescript'

const repositoryRoot: string = resolve(import.meta.dirname, '../..')

/** The sources as JavaScript, for child processes: Node 20 runs no TypeScript, and `dist/` may be old or absent. */
export interface CompiledSources {
  /** The JavaScript of a TypeScript file, named by its path in the repository: `'test/faults/children/x.ts'`. */
  pathOf(sourcePath: string): string
  remove(): Promise<void>
}

/**
 * Turns `src/` and the child scripts under `test/faults/children/` into JavaScript, file by file and without
 * checking types, which takes about a second. The result keeps the folders, so that relative imports and workers
 * work, and lies under `build/`, so that `node_modules` and `"type": "module"` are found above it.
 */
export async function compileSources(): Promise<CompiledSources> {
  const target = join(repositoryRoot, 'build', `sources-${randomBytes(8).toString('hex')}`)
  for (const folder of ['src', 'test/faults/children']) {
    for (const entry of await readdir(join(repositoryRoot, folder), { recursive: true })) {
      if (!entry.endsWith('.ts') || entry.endsWith('.test.ts') || entry.endsWith('.d.ts')) continue
      await compile(join(repositoryRoot, folder, entry), target)
    }
  }
  return {
    pathOf: (sourcePath) => join(target, javaScriptName(sourcePath)),
    remove: () => rm(target, { recursive: true, force: true }),
  }
}

async function compile(sourcePath: string, target: string): Promise<void> {
  const { outputText } = ts.transpileModule(await readFile(sourcePath, 'utf8'), {
    fileName: sourcePath,
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
    },
  })
  const path = join(target, javaScriptName(relative(repositoryRoot, sourcePath)))
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, outputText)
}

function javaScriptName(sourcePath: string): string {
  return sourcePath.replace(/\.ts$/, '.js')
}

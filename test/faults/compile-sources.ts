import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'

const repositoryRoot: string = resolve(import.meta.dirname, '../..')
const build = join(repositoryRoot, 'build')
const CHILDREN = ['test/faults/children', 'test/services/children']
/** Files of an older state of the sources are removed when they have not been made for so long. */
const KEPT_MS = 3_600_000

/** The child scripts as JavaScript: Node 20 runs no TypeScript. */
export interface CompiledSources {
  /** The JavaScript of a child script, named by its path in the repository: `'test/faults/children/x.ts'`. */
  pathOf(sourcePath: string): string
}

/**
 * Turns the child scripts under `test/faults/children/` and `test/services/children/`, with what they import of `src/`, into JavaScript, without checking
 * types: each into one file, and what several share into files beside it. A process that loads all the sources one by one does
 * little else, and there are hundreds. The result lies under `build/`, so that `node_modules` and the package's own `imports`
 * are found above it. It is named by what it was made of: whoever asks first makes it, and all that run meanwhile or later share it.
 */
export async function compileSources(): Promise<CompiledSources> {
  const sources = await readSources()
  const bundler = await readFile(join(repositoryRoot, 'node_modules/rolldown/package.json'), 'utf8')
  const hash = createHash('sha256').update(JSON.stringify([bundler, [...sources]]))
  const target = join(build, `sources-${hash.digest('hex').slice(0, 16)}`)
  if (!existsSync(target)) await make(target, sources)
  return {
    pathOf: (sourcePath) => {
      const script = join(target, basename(sourcePath).replace(/\.ts$/, '.js'))
      if (!existsSync(script)) throw new Error(`${sourcePath} is no child script`)
      return script
    },
  }
}

async function readSources(): Promise<Map<string, string>> {
  const sources = new Map<string, string>()
  for (const folder of ['src', ...CHILDREN]) {
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
  // Loading the bundler takes longer than most tests: only where something is to be compiled.
  const { rolldown } = await import('rolldown')
  const manifest = JSON.parse(await readFile(join(repositoryRoot, 'package.json'), 'utf8')) as {
    readonly dependencies: object
    readonly devDependencies: object
  }
  const packages = new Set(Object.keys({ ...manifest.dependencies, ...manifest.devDependencies }))
  const begun = join(build, `sources-${randomBytes(8).toString('hex')}.begun`)
  const bundle = await rolldown({
    input: [...sources.keys()].filter((path) => CHILDREN.some((folder) => path.startsWith(folder))),
    cwd: repositoryRoot,
    platform: 'node',
    transform: { target: 'es2022' },
    external: (id) => packages.has(id) || id.startsWith('node:'),
  })
  await bundle.write({ dir: begun, format: 'esm', entryFileNames: '[name].js' })
  await bundle.close()
  try {
    await rename(begun, target)
  } catch (error) {
    // Somebody else was faster, and made the same.
    await rm(begun, { recursive: true })
    if (!existsSync(target)) throw error
  }
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

import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root: string = fileURLToPath(new URL('../..', import.meta.url))
let copies = 0

/**
 * Loads a module of the package once more, as a process does in which the package is installed twice: a module of `src/`, named without
 * ending, as the build has it. What it imports is not loaded once more.
 */
export async function anotherCopy(name: string): Promise<object> {
  const url = pathToFileURL(join(root, 'dist', `${name}.js`))
  url.search = `copy=${++copies}`
  return (await import(url.href)) as object
}

/** A package that is installed a second time: its modules are named as for `anotherCopy`, and what they import is its own, too. */
export interface InstalledCopy {
  load(name: string): Promise<object>
  remove(): Promise<void>
}

export async function installedCopy(): Promise<InstalledCopy> {
  // Within the folder of the repository, where packages that it depends on are found.
  const parent = join(root, 'build')
  await mkdir(parent, { recursive: true })
  const folder = await mkdtemp(join(parent, 'copy-'))
  await cp(join(root, 'dist'), folder, {
    recursive: true,
    filter: (path) => !path.endsWith('.ts') && !path.endsWith('.map'),
  })
  return {
    load: async (name) => (await import(pathToFileURL(join(folder, `${name}.js`)).href)) as object,
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}

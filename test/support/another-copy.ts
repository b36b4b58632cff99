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

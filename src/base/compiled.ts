import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const require = createRequire(import.meta.url)
const resolved = new Map<string, URL>()

/**
 * A module of this package that another thread or process loads, by its name in package.json's `imports`: the compiled one,
 * also where this file itself runs as TypeScript, in tests.
 */
export function compiledModule(name: `#${string}`): URL {
  const url = resolved.get(name) ?? pathToFileURL(require.resolve(name))
  resolved.set(name, url)
  return url
}

/**
 * What a thread of this package is started with: the process's own arguments, except where they say how its main script is
 * to be read; the thread would be read like it, and fail.
 */
export function threadArguments(): { readonly execArgv?: string[] } {
  return process.execArgv.some((argument) => argument.startsWith('--input-type')) ? { execArgv: [] } : {}
}

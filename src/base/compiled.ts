// The files of this package that are run and not imported, by other threads and processes; and packages that are loaded when
// they are needed. All of it asks for the place where this file lies, which a bundler takes away: nothing here runs at load,
// so that a bundle that needs none of it works.

import { createRequire } from 'node:module'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { type Transferable, Worker } from 'node:worker_threads'
import { reasonOf, StateError } from './errors.js'
import { isErrorLike } from './shapes.js'

const resolved = new Map<string, URL>()

/**
 * A module of this package that another thread or process loads, by its name in package.json's `imports`: the compiled one,
 * also where this file itself runs as TypeScript, in tests. `INCOMPATIBLE` in a bundle, which has no such files beside it.
 */
export function compiledModule(name: `#${string}`): URL {
  let url = resolved.get(name)
  if (url === undefined) {
    try {
      url = pathToFileURL(requireHere().resolve(name))
    } catch (cause) {
      throw takenApart(`no file for ${name}`, cause)
    }
    resolved.set(name, url)
  }
  return url
}

/**
 * Loads a module, by its URL, in the thread that was told to use it. What is CommonJS, as the files of this package are, is not loaded the way
 * ES modules are: a thread's first one makes the loader of these ready, which takes longer than most threads here take to load all that they need.
 */
export async function loadModule(url: string): Promise<unknown> {
  return url.endsWith('.cjs') ? requireHere()(fileURLToPath(url)) : await import(url)
}

/** What a path may have that is not what it is where it is taken for a URL. */
const OTHER_IN_URL = /[%#?\t\r\n]/

/**
 * Loads a package that this one depends on and that brings a native addon. `INCOMPATIBLE` where it does not load: in a bundle,
 * on a system that it has no binary for, where Node.js was told to load no addons. `esModule` is its ES module, seen from its CommonJS one:
 * taken where that one would not find its addon, as it takes its own path for a URL (in a folder named `C#`, for one).
 */
export function requirePackage(name: string, esModule?: string): unknown {
  const require = requireHere()
  try {
    if (esModule === undefined) return require(name)
    const path = require.resolve(name)
    return require(OTHER_IN_URL.test(path) ? fileURLToPath(new URL(esModule, pathToFileURL(path))) : path)
  } catch (cause) {
    const details = {
      what: `package ${name} on ${process.platform}-${process.arch}, Node.js ${process.version}`,
      found: reasonOf(cause).split('\n', 1)[0] ?? '',
      supported:
        'an installed package whose addon may be loaded (it and holdfast are kept external in a bundle)',
    }
    throw new StateError('INCOMPATIBLE', details, { cause })
  }
}

function requireHere(): NodeJS.Require {
  // In a CommonJS bundle there is no such URL.
  const url: string | undefined = import.meta.url
  if (url === undefined) throw takenApart('no place of its own')
  return createRequire(url)
}

function takenApart(found: string, cause?: unknown): StateError<'INCOMPATIBLE'> {
  return new StateError(
    'INCOMPATIBLE',
    {
      what: 'holdfast in a bundle',
      found,
      supported: 'holdfast as a package of its own, in node_modules: keep it external when you bundle',
    },
    cause === undefined ? undefined : { cause },
  )
}

export interface ThreadStart {
  /** For debuggers and profilers. */
  readonly name: string
  readonly workerData?: unknown
  readonly transferList?: readonly Transferable[]
}

/**
 * Starts a thread with a module of this package. `STORAGE_ERROR` where this process may not start one; `INCOMPATIBLE` in a
 * bundle. What goes wrong later is an event of the thread.
 */
export function startThread(
  module: `#${string}`,
  { name, workerData, transferList = [] }: ThreadStart,
): Worker {
  const url = compiledModule(module)
  try {
    const thread = new Worker(url, { name, workerData, transferList: [...transferList], ...surroundings() })
    return thread.on('error', explain)
  } catch (cause) {
    const hint = isErrorLike(cause) && 'code' in cause && cause.code === 'ERR_ACCESS_DENIED'
    const reason = hint
      ? 'Node.js was told to forbid threads; allow them with --allow-worker'
      : reasonOf(cause)
    throw new StateError(
      'STORAGE_ERROR',
      { storage: 'holdfast', operation: `start ${name}`, reason },
      { cause },
    )
  }
}

/** Has the error of a thread that could not start for want of a working directory say so: of itself it says `uv_cwd`. */
function explain(error: unknown): void {
  if (!isErrorLike(error) || !error.message.endsWith('uv_cwd')) return
  const reason = 'the working directory of this process is gone, and Node.js starts no thread without one'
  error.message = `${reason}; change to one that stays (process.chdir), or start the process there (${error.message})`
}

/**
 * A thread inherits the arguments of its process, and NODE_OPTIONS. Where these say how the main script is to be read, the
 * thread's own would be read like it, and fail: then it is started without.
 */
function surroundings(): { readonly execArgv?: string[]; readonly env?: NodeJS.ProcessEnv } {
  const options = process.env['NODE_OPTIONS'] ?? ''
  const remaining = withoutInputType(options)
  if (remaining === options && !process.execArgv.some((argument) => INPUT_TYPE.test(argument))) return {}
  return { execArgv: [], env: { ...process.env, NODE_OPTIONS: remaining } }
}

const INPUT_TYPE = /^"?--input[-_]type/

/** The value of NODE_OPTIONS (words between spaces, some of them in quotes) without `--input-type`. */
export function withoutInputType(nodeOptions: string): string {
  const words = nodeOptions.match(/(?:"(?:\\.|[^"\\])*"|[^" ])+/g) ?? []
  const isIts = (word: string | undefined) => word !== undefined && INPUT_TYPE.test(word)
  const kept = words.filter((word, i) => {
    const previous = words[i - 1]
    // `--input-type module` are two words.
    return !isIts(word) && !(isIts(previous) && !previous?.includes('='))
  })
  return kept.length === words.length ? nodeOptions : kept.join(' ')
}

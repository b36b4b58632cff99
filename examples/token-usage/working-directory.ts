import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InputError } from './input-error.js'

/** Where the checkpoints of both runs go. */
export interface WorkingDirectory extends AsyncDisposable {
  readonly path: string
  /** It stays when the program ends. */
  readonly kept: boolean
  /** A directory of its own for each run. */
  forRun(name: string): Promise<string>
}

/** A new directory for temporary files, removed on disposal; or the given one, new or empty, which is kept. */
export async function openWorkingDirectory(given: string | undefined): Promise<WorkingDirectory> {
  const path = given ?? (await mkdtemp(join(tmpdir(), 'holdfast-token-usage-')))
  if (given !== undefined) await claim(given)
  return {
    path,
    kept: given !== undefined,
    forRun: async (name) => {
      const directory = join(path, name)
      await mkdir(directory).catch((error: unknown) => {
        throw refusal(path, error)
      })
      return directory
    },
    [Symbol.asyncDispose]: async () => {
      if (given === undefined) await rm(path, { recursive: true, force: true })
    },
  }
}

async function claim(path: string): Promise<void> {
  try {
    await mkdir(path).catch((error: unknown) => {
      if (codeOf(error) !== 'EEXIST') throw error
    })
    // With somebody else's checkpoints in it, the first run would not begin at the beginning.
    if ((await readdir(path)).length > 0) {
      throw new InputError(`${path}: is not empty; name a new directory with --dir`)
    }
  } catch (error) {
    throw refusal(path, error)
  }
}

function refusal(path: string, error: unknown): unknown {
  switch (codeOf(error)) {
    case undefined:
      return error
    case 'ENOTDIR':
      return new InputError(`${path}: is not a directory; name a new or empty one with --dir`)
    case 'ENOENT':
      return new InputError(`${path}: there is no directory to create it in; name another one with --dir`)
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new InputError(`${path}: may not be written; name another directory with --dir`)
    default:
      return new InputError(`${path}: cannot be used (${String(error)}); name another directory with --dir`)
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}

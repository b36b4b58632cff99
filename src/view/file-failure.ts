import { getSystemErrorMap } from 'node:util'
import { UsageError } from './usage-error.js'

/** What the system said of a file, in words: `all.csv: no space left on device`. */
export class FileFailure extends Error {
  constructor(file: string, cause: NodeJS.ErrnoException) {
    super(messageFor(file, cause), { cause })
    this.name = 'FileFailure'
  }
}

/** A name that does not lead to a file that can be used so is wrong use; everything else is a failure. */
const WRONG_NAMES: ReadonlySet<string | undefined> = new Set([
  'ENOENT',
  'EISDIR',
  'ENOTDIR',
  'ENAMETOOLONG',
  'ELOOP',
])

/** The error of a call of the file system with that file, as people are told; any other error as it is. */
export function fileError(file: string, error: unknown): unknown {
  const failure = error as NodeJS.ErrnoException
  if (typeof failure?.errno !== 'number') return error
  return WRONG_NAMES.has(failure.code)
    ? new UsageError(messageFor(file, failure))
    : new FileFailure(file, failure)
}

function messageFor(file: string, { errno, message }: NodeJS.ErrnoException): string {
  const words = errno === undefined ? undefined : getSystemErrorMap().get(errno)?.[1]
  return `${file}: ${words ?? message}${hintFor(file)}`
}

/** What can be done about a name that Node.js could not take as it is; nothing to say of others. */
export const hintFor = (file: string): string =>
  file.includes('\ufffd') ? ' (a name that is not UTF-8 cannot be given here: use a link to it)' : ''

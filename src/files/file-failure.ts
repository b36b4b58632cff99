import { isStateError, reasonOf, StateError } from '../base/errors.js'
import { isErrorLike } from '../base/shapes.js'

/** What an error number of the operating system means here, and what the reader of the message does next. */
const nextSteps: { readonly [code: string]: string } = {
  ENOSPC: 'no space is left; free some or use a larger disk, then retry',
  EDQUOT: 'the disk quota is used up; free space or raise the quota, then retry',
  EFBIG: 'the file would exceed the largest size allowed; raise the limit (ulimit -f), then retry',
  EACCES: 'permission denied; let the user of this process read and write there, or use another directory',
  EPERM: 'not permitted here (it takes ownership and hard links); use another directory or file system',
  EROFS: 'the file system is read-only; mount it writable or use another directory',
  ENOTDIR: 'a part of the path is not a directory; move that file away or use another directory',
  EEXIST: 'a file is where the directory should be; move it away or use another directory',
  ENOENT: 'it is gone; check that the directory exists and that its file system is mounted, then retry',
  EISDIR: 'a directory is where a file should be; move it away, then retry',
  ELOOP: 'it is a symbolic link, which is not followed; put the file itself there',
  EXDEV: 'it crosses file systems; use a directory that lies on one file system',
  EMFILE: 'this process has too many files open; raise the limit (ulimit -n), then retry',
  ENFILE: 'the system has too many files open; raise its limit, then retry',
  ENAMETOOLONG: 'the path is too long; use a shorter directory',
  EIO: 'the device failed; check the disk and the system log, then retry or use another directory',
  ENOTSUP: 'the file system does not support this; use another one',
  ENOSYS: 'the file system does not support this; use another one',
  EINVAL: 'the file system does not support this; use another one',
  ERR_ACCESS_DENIED:
    'the permission model of Node.js forbids it; allow the directory with --allow-fs-read and --allow-fs-write, and where it forbids fsync itself, as Node.js 26 and late releases of 24 do, run without --permission',
}

/** `'ENOENT'` and its like, where the error is one of the operating system's. */
export function errnoOf(error: unknown): string | undefined {
  const code = isErrorLike(error) && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : undefined
}

/** A failure of the operating system as `STORAGE_ERROR`: one line with the path and the next step. */
export function storageError(
  storage: string,
  operation: string,
  path: string,
  cause: unknown,
): StateError<'STORAGE_ERROR'> {
  const code = errnoOf(cause)
  const nextStep = code === undefined ? undefined : nextSteps[code]
  const reason = nextStep === undefined ? `${path}: ${reasonOf(cause)}` : `${path}: ${nextStep} (${code})`
  return new StateError('STORAGE_ERROR', { storage, operation, reason }, { cause })
}

/**
 * Runs the clean-up that a failure makes necessary and returns the failure to throw: the one that was,
 * or, where the clean-up failed as well, one that tells both.
 */
export async function afterCleanUp(
  failure: unknown,
  storage: string,
  cleanUp: () => Promise<void>,
): Promise<unknown> {
  try {
    await cleanUp()
    return failure
  } catch (second) {
    const reason = `${reasonOf(failure)}; and cleaning up failed: ${reasonOf(second)}`
    const known = isStateError(failure, 'STORAGE_ERROR') ? failure.details : {}
    return new StateError(
      'STORAGE_ERROR',
      { ...known, storage, operation: 'clean up', reason },
      { cause: new AggregateError([failure, second], reason) },
    )
  }
}

/** `CORRUPTION` where a small object is larger than its reader is prepared to hold. */
export function checkSmall(what: string, sizeBytes: number, maxBytes: number): void {
  if (sizeBytes <= maxBytes) return
  throw new StateError('CORRUPTION', {
    what,
    reason: `it has ${sizeBytes} bytes where at most ${maxBytes} can be right`,
  })
}

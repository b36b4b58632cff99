import { isStateError, reasonOf, StateError } from '../base/errors.js'

/**
 * What ends a job, as the job tells of it: an error with a code stays as it is, whether the job itself, its source, sink or backend has thrown it, so
 * that a caller can act on the code; anything else is the cause of `JOB_FAILED`.
 */
export function failureOf(job: string, error: unknown): StateError {
  if (isStateError(error)) return error
  const details = { job, partition: undefined, position: undefined, reason: reasonOf(error) }
  return new StateError('JOB_FAILED', details, { cause: error })
}

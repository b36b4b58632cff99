import { StateError } from '../../base/errors.js'

/** A position, or a note, that cannot be gone on from. */
export function restoreFailed(reason: string): StateError<'RESTORE_FAILED'> {
  return new StateError('RESTORE_FAILED', { checkpointId: undefined, reason, skipped: [] })
}

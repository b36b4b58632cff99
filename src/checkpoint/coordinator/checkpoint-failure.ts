import { isStateError, reasonOf, StateError } from '../../base/errors.js'
import type { LeasedStorage } from '../archive/leased-storage.js'
import { checkpointId } from '../format/object-names.js'
import type { Logger } from '../types.js'
import type { Leftover } from '../worker/worker-protocol.js'

/** Errors that keep their code; every other failure of a checkpoint is `CHECKPOINT_FAILED` with its cause. */
const PASSED_ON = ['FENCED', 'ABORTED', 'CLOSED', 'INVALID_ARGUMENT', 'SERIALIZATION_FAILED'] as const

/** That a snapshot was closed, by its age for one, says of no object of the caller's that it is closed. */
function isOfSnapshot(error: StateError): boolean {
  return isStateError(error, 'CLOSED') && error.details.component.startsWith('snapshot')
}

export function asCheckpointFailure(error: unknown, sequence: number | undefined): StateError {
  if (isStateError(error) && !isOfSnapshot(error) && PASSED_ON.some((code) => code === error.code))
    return error
  const id = sequence === undefined ? undefined : checkpointId(sequence)
  const details = { checkpointId: id, reason: reasonOf(error) }
  return new StateError('CHECKPOINT_FAILED', details, { cause: error })
}

/** Removes objects after a failure, in that order, unless the failure means that another owner is at work here. */
export async function removeAfterFailure(
  owner: LeasedStorage,
  names: readonly string[],
  error: unknown,
  logger: Logger,
): Promise<void> {
  if (isStateError(error, 'FENCED')) return
  try {
    await owner.check()
    for (const name of names) await owner.remove(name)
  } catch (failure) {
    const what = `remove ${names.join(' and ')}`
    logLeftover(logger, { what, failure: reasonOf(failure), after: reasonOf(error) })
  }
}

export function logLeftover(logger: Logger, { what, failure, after }: Leftover): void {
  logger.warn({ failure, after }, `could not ${what} after a failed checkpoint`)
}

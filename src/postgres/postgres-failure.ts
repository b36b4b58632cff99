import { StateError } from '../base/errors.js'
import { mayPass } from '../remote/postgres-client.js'
import { withoutSecrets } from '../remote/secrets.js'

/** A connection with a life of its own, of a snapshot or a transaction, has failed with what it held. */
export function storageError(operation: string, error: unknown): StateError<'STORAGE_ERROR'> {
  const cause = withoutSecrets(error)
  return new StateError(
    'STORAGE_ERROR',
    { storage: 'PostgreSQL', operation, reason: cause.message },
    { cause },
  )
}

/** What has failed in a transaction of the caller's own: it is the caller's to roll back, and to begin again where that may help. */
export function joinedFailure(error: unknown): StateError {
  const cause = withoutSecrets(error)
  if (!mayPass(cause)) return storageError('write', error)
  return new StateError('TRANSACTION_FAILED', { operation: 'write', reason: cause.message }, { cause })
}

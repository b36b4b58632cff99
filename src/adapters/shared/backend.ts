import { invalidArgument } from '../../engine.js'
import { isSyncBackend, type StateBackend, type SyncStateBackend } from '../../index.js'

/** Whether a value, of whatever kind, is a backend that is synchronous. */
export function isSyncStore(value: unknown): value is SyncStateBackend {
  const isBackend =
    typeof value === 'object' &&
    value !== null &&
    typeof (value as Partial<StateBackend>).supports === 'object'
  return isBackend && isSyncBackend(value as StateBackend)
}

/** The backend that an adapter was given; `INVALID_ARGUMENT` where it is none, or an asynchronous one. */
export function syncBackend(value: unknown): SyncStateBackend {
  if (!isSyncStore(value))
    throw invalidArgument('backend', 'must be a backend that is synchronous (supports.sync)')
  return value
}

/** Every call that a `CheckpointStorage` and what it hands out can take. */
export type StorageOperation =
  | 'acquire'
  | 'create'
  | 'open'
  | 'read'
  | 'replace'
  | 'list'
  | 'remove'
  | 'discardUncommitted'
  | 'writer.write'
  | 'writer.commit'
  | 'writer.abort'
  | 'reader.read'
  | 'reader.close'
  | 'lease.check'
  | 'lease.release'

/** A call that has arrived: `object` is the name it was about, if any. */
export interface StorageCall {
  readonly operation: StorageOperation
  readonly object: string | undefined
}

/**
 * What goes wrong:
 *
 * - `fail`: the call rejects with `error`, by default a `STORAGE_ERROR`.
 * - `crash`: so does it, and so does every call after it, as if the process or the machine had gone.
 * - `cut`: the call succeeds, but only the first `keepBytes` (default: half) of its bytes are written or read.
 * - `flip`: the call succeeds, but one bit of the byte at `offset` (default: the middle one) is inverted.
 *
 * `cut` and `flip` strike only calls that carry bytes: `writer.write`, `replace`, `read` and `reader.read`.
 */
export type StorageEffect =
  | { readonly effect: 'fail'; readonly error?: Error; readonly when?: 'before' | 'after' }
  | { readonly effect: 'crash'; readonly when?: 'before' | 'after' }
  | { readonly effect: 'cut'; readonly keepBytes?: number; readonly thenCrash?: boolean }
  | { readonly effect: 'flip'; readonly offset?: number }

/**
 * When and how a storage goes wrong. The fault strikes at the `nth` call (from 1, default 1) of those that match
 * `operation` and `object`, counted from its injection; with `forever`, at all later ones, too.
 * `when: 'after'` lets the call do its work first: it is done, and the caller does not learn it.
 */
export type StorageFault = StorageEffect & {
  readonly operation?: StorageOperation
  /** A part of the object's name. */
  readonly object?: string
  readonly nth?: number
  readonly forever?: boolean
}

const CARRIES_BYTES: ReadonlySet<StorageOperation> = new Set([
  'writer.write',
  'replace',
  'read',
  'reader.read',
])

/** Counts the calls that a fault matches, and tells when it strikes. */
export class ArmedFault {
  readonly fault: StorageFault
  #matched = 0

  constructor(fault: StorageFault) {
    this.fault = fault
  }

  /** Whether it strikes at this call. Each call is asked about once. */
  strikes(call: StorageCall): boolean {
    const { operation, object, nth = 1, forever = false, effect } = this.fault
    if (operation !== undefined && operation !== call.operation) return false
    if (object !== undefined && call.object?.includes(object) !== true) return false
    if ((effect === 'cut' || effect === 'flip') && !CARRIES_BYTES.has(call.operation)) return false
    this.#matched++
    return this.#matched === nth || (forever && this.#matched > nth)
  }
}

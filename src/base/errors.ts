import { describeKey } from './bytes.js'
import type { JsonValue } from './json.js'
import { brandClass, hasBrand, isErrorLike } from './shapes.js'

/** One thing that is wrong with what the caller passed. */
export interface Violation {
  /** Which argument or option, as the caller wrote it: `'key'`, `'options.ttlMs'`. */
  readonly argument: string
  /** What is wrong and what is allowed, as a sentence fragment. */
  readonly reason: string
}

/** A checkpoint that a restore passed over, and why. */
export interface SkippedCheckpoint {
  readonly id: string
  readonly code: StateErrorCode
  readonly reason: string
}

/**
 * What each error code tells, and what the caller should do about it.
 * `docs/errors.md` has the same list with examples.
 */
export interface StateErrorDetails {
  /** The component cannot do this yet or at this moment (its content is being replaced). Wait, then call again. */
  NOT_INITIALIZED: { readonly component: string; readonly operation: string }
  /** An `…OrThrow` read found nothing. Treat as absent. */
  KEY_NOT_FOUND: { readonly key: Uint8Array }
  /** A value cannot be turned into bytes. Fix the value or its serializer. */
  SERIALIZATION_FAILED: { readonly what: string; readonly reason: string }
  /** Stored bytes do not read back as a value. Check serializer and schema version. */
  DESERIALIZATION_FAILED: { readonly what: string; readonly reason: string }
  /** The operating system or a server refused or failed. `cause` has its error. Mend it, then retry. */
  STORAGE_ERROR: {
    readonly storage: string
    readonly operation: string
    readonly reason: string
    /** The failure has damaged this process's memory: end the process. What is durable is as it was. */
    readonly memoryDamaged?: true
  }
  /** This checkpoint was not made; earlier ones and the live state are intact. The next attempt starts afresh. */
  CHECKPOINT_FAILED: { readonly checkpointId: string | undefined; readonly reason: string }
  /** Nothing was restored; the backend holds what it held before. Choose another checkpoint or decide to start empty. */
  RESTORE_FAILED: {
    readonly checkpointId: string | undefined
    readonly reason: string
    readonly skipped: readonly SkippedCheckpoint[]
  }
  /** An `…OrThrow` read found an entry whose time to live has passed. Treat as absent. */
  STATE_EXPIRED: { readonly key: Uint8Array; readonly expiredAtMs: number; readonly expiredForMs: number }
  /** A batch or transaction was not applied, for a reason other than a failed expectation. Nothing of it is visible. */
  TRANSACTION_FAILED: { readonly operation: string; readonly reason: string }
  /** An `expect` of a batch did not hold; nothing of the batch was applied. Read again, decide again. */
  CONCURRENT_MODIFICATION: { readonly key: Uint8Array }
  /** The write does not fit (sizes in bytes). Reads and deletes go on: delete, wait for expiry, close snapshots, or raise the limit. */
  BACKEND_FULL: { readonly used: number; readonly capacity: number }
  /** The call itself is wrong; nothing was changed. Every violation is listed. */
  INVALID_ARGUMENT: { readonly violations: readonly Violation[] }
  /** The object was closed. Open a new one. */
  CLOSED: { readonly component: string }
  /** Stored bytes are not what was written. Use another copy; the damaged one is left as it is. */
  CORRUPTION: { readonly what: string; readonly reason: string; readonly key?: Uint8Array }
  /** Written by a newer version, in an unknown format, or with a codec that this runtime lacks. Upgrade, or use the named codec's runtime. */
  INCOMPATIBLE: { readonly what: string; readonly found: string; readonly supported: string }
  /** Another owner holds this resource. Stop the other one, or use another directory. */
  FENCED: { readonly resource: string; readonly owner: string }
  /**
   * A job stopped: at this event, which is not counted in any state, or where partition and position are undefined, between two. Its last cut
   * is intact: mend what is wrong, and run it again.
   */
  JOB_FAILED: {
    readonly job: string
    readonly partition: string | undefined
    readonly position: JsonValue | undefined
    readonly reason: string
  }
  /** The caller's `AbortSignal` fired. Nothing half-done is visible. */
  ABORTED: { readonly operation: string }
}

/** The closed set of codes: `docs/errors.md` says of each what to do. */
export type StateErrorCode = keyof StateErrorDetails

/**
 * What a `StateErrorDetails[Code]` says in one line. An operation is a verb with what belongs to it: `write`, `open the source`. What is
 * supported may be a version, a thing or advice, so it stands behind a colon.
 */
const messages: { readonly [Code in StateErrorCode]: (details: StateErrorDetails[Code]) => string } = {
  NOT_INITIALIZED: (d) => `${d.component} cannot ${d.operation} at this moment`,
  KEY_NOT_FOUND: (d) => `no entry for key ${describeKey(d.key)}`,
  SERIALIZATION_FAILED: (d) => `cannot serialize ${d.what}: ${d.reason}`,
  DESERIALIZATION_FAILED: (d) => `cannot deserialize ${d.what}: ${d.reason}`,
  STORAGE_ERROR: (d) => `${d.storage}: cannot ${d.operation}: ${d.reason}`,
  CHECKPOINT_FAILED: (d) => `checkpoint ${d.checkpointId ?? '(no id yet)'} failed: ${d.reason}`,
  RESTORE_FAILED: (d) =>
    `${d.checkpointId === undefined ? 'restore' : `restore of ${d.checkpointId}`} failed: ${d.reason}`,
  STATE_EXPIRED: (d) => `entry for key ${describeKey(d.key)} expired ${d.expiredForMs} ms ago`,
  TRANSACTION_FAILED: (d) => `${d.operation} was not applied: ${d.reason}`,
  CONCURRENT_MODIFICATION: (d) => `key ${describeKey(d.key)} does not hold what the batch expects`,
  BACKEND_FULL: (d) => `backend is full: ${d.used} of ${d.capacity} bytes used`,
  INVALID_ARGUMENT: (d) => d.violations.map((v) => `${v.argument} ${v.reason}`).join('; '),
  CLOSED: (d) => `${d.component} is closed`,
  CORRUPTION: (d) => `${d.what} is damaged: ${d.reason}`,
  INCOMPATIBLE: (d) => `${d.what}: found ${d.found}; supported: ${d.supported}`,
  FENCED: (d) => `${d.resource} belongs to ${d.owner}`,
  JOB_FAILED: (d) =>
    `job '${d.job}' failed${d.partition === undefined ? '' : ` at ${JSON.stringify(d.position)} of partition ${d.partition}`}: ${d.reason}`,
  ABORTED: (d) => `aborted: ${d.operation}`,
}

const STATE_ERROR = Symbol.for('holdfast.StateError')

/**
 * The one error that holdfast throws for operating failures. `code` is from a closed set and decides what
 * `details` holds; `cause` keeps the error underneath. A failed assertion is not a `StateError`: it is a bug.
 *
 * @example
 * try { await backend.write(batch) } catch (error) {
 *   if (!isStateError(error, 'CONCURRENT_MODIFICATION')) throw error
 *   retry(error.details.key)
 * }
 */
export class StateError<Code extends StateErrorCode = StateErrorCode> extends Error {
  static {
    brandClass(StateError, STATE_ERROR)
  }

  override readonly name = 'StateError'
  readonly code: Code
  readonly details: StateErrorDetails[Code]

  constructor(code: Code, details: StateErrorDetails[Code], options?: ErrorOptions) {
    super(messages[code](details), options)
    this.code = code
    this.details = details
  }
}

/**
 * Whether `error` is a `StateError`, also of another copy of this package, and, where a code is given, one with that code: its
 * `details` are then typed.
 */
export function isStateError<Code extends StateErrorCode = StateErrorCode>(
  error: unknown,
  code?: Code,
): error is StateError<Code> {
  return hasBrand(error, STATE_ERROR) && (code === undefined || (error as StateError).code === code)
}

/** A one-line reason for whatever was thrown, for `details.reason`. */
export function reasonOf(error: unknown): string {
  if (isErrorLike(error)) return error.message
  try {
    return String(error)
  } catch {
    // An object without a prototype has no text, nor has one that throws where it is looked at.
    return `an ${typeof error} that gives no reason`
  }
}

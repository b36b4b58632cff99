// A write transaction of LMDB.
//
// A transaction that JavaScript walks through stays open for ever where its thread is terminated in the middle of it: LMDB then
// holds its lock, and whoever closes or writes next hangs. Only a thread that belongs to another one can be terminated, so:
//
// (1) In a store of the main thread, a transaction is walked through.
// (2) In a store of any other thread, the steps are only noted, and the package's native thread goes through them without
//     coming back, after the turn of the event loop that noted them. A thread that is terminated meanwhile waits for it. Where
//     noting the steps fails, the thread must end in that turn: half of them would be committed otherwise.
// (3) When the system refuses to write a page, LMDB's package (3.5.6) composes a message in memory that may be too short for it, and
//     writes on behind it. The message tells by its length whether it has: then nothing in this process is to be trusted.

import { settlesWithin } from '../../base/clock.js'
import { reasonOf, StateError } from '../../base/errors.js'
import type { Environment, Table } from '../store/environment.js'

/** How long the package may take to say why a transaction failed; it does so at once, or not at all. */
const REASON_MS = 1_000

/** How the package's message about a page that was not written begins. */
const PAGE_NOT_WRITTEN = 'Attempting to write page at position'
/**
 * Bytes that there are for it, a zero at the end included. The package asks for 100, and allocators give whole units: glibc gives 104,
 * others no less.
 */
const MESSAGE_BYTES = 104

/** The steps of a transaction could not be noted: the thread must end in this turn of the event loop. */
export class HalfNoted extends Error {
  constructor(cause: unknown) {
    super(reasonOf(cause), { cause })
  }
}

/** What a transaction does, in this order. */
export interface Steps {
  /** The record's bytes must stay as they are until the transaction is done; those of the key are copied. */
  put(table: Table, key: Uint8Array, record: Uint8Array): void
  /** `put` of a key behind all that the table holds: LMDB fills its pages when it is told so. */
  append(table: Table, key: Uint8Array, record: Uint8Array): void
  remove(table: Table, key: Uint8Array): void
  clear(table: Table): void
}

/** Carries each step out at once, in a transaction that is walked through. */
export const walked: Steps = {
  put: (table, key, record) => void table.putSync(key, record),
  append: (table, key, record) => void table.putSync(key, record, { append: true }),
  remove: (table, key) => void table.removeSync(key),
  clear: (table) => table.clearSync(),
}

const noted: Steps = {
  put: (table, key, record) => void table.put(key, record),
  append: (table, key, record) => void table.put(key, record, { append: true }),
  remove: (table, key) => void table.remove(key),
  clear: (table) => void table.clearAsync(),
}

/**
 * Carries out all the steps that `take` takes, or none; resolves when they are on stable storage. `terminable`: this thread may
 * be terminated.
 */
export async function transaction(
  { root }: Environment,
  terminable: boolean,
  take: (steps: Steps) => void,
): Promise<void> {
  try {
    if (terminable) await note(root, take)
    else root.transactionSync(() => take(walked))
  } catch (error) {
    throw damageTold(error) ?? error
  }
  root.resetReadTxn()
}

async function note(root: Environment['root'], take: (steps: Steps) => void): Promise<void> {
  let failed: HalfNoted | undefined
  const committed = root.batch(() => {
    try {
      take(noted)
    } catch (error) {
      failed = new HalfNoted(error)
    }
  })
  if (failed !== undefined) throw failed
  try {
    await committed
  } catch (error) {
    throw await causeOf(error)
  }
}

/** `STORAGE_ERROR` with `memoryDamaged` where the package has written more than it had memory for; see (3). */
export function damageTold(failure: unknown): StateError<'STORAGE_ERROR'> | undefined {
  const reason = reasonOf(failure)
  const start = reason.indexOf(PAGE_NOT_WRITTEN)
  if (start < 0 || reason.length - start < MESSAGE_BYTES) return undefined
  return new StateError(
    'STORAGE_ERROR',
    {
      storage: 'lmdb',
      operation: 'commit',
      reason: `${reason}. Telling so has damaged the memory of this process: end it`,
      memoryDamaged: true,
    },
    { cause: failure },
  )
}

/** The package rejects with an error that promises another one, which has the reason. */
async function causeOf(rejection: unknown): Promise<unknown> {
  const { commitError } = rejection as { commitError?: Promise<never> }
  if (commitError === undefined) return rejection
  if (!(await settlesWithin(commitError, REASON_MS))) return rejection
  return await commitError.catch((reason: unknown) => reason)
}

import { statSync } from 'node:fs'
import { compareBytes, describeKey } from '../../base/bytes.js'
import { isStateError, reasonOf } from '../../base/errors.js'
import {
  type Environment,
  KeyScratch,
  openEnvironment,
  type ReadTransaction,
  type Slot,
  slotOf,
  type Table,
} from './environment.js'
import { checkRecord, ENTRY_PREFIX, EXPIRY_KEY_BYTES, recordExpiry, recordPart } from './record.js'
import { decodeStoreState, STATE_KEY, type StoreState } from './store-state.js'

/** Something wrong in a store. */
export interface StoreProblem {
  readonly what: string
  readonly reason: string
}

/** What a whole reading of a store has found. */
export interface VerifyReport {
  readonly ok: boolean
  /** Records read, expired ones included, those of them that expire, and bytes of keys and values. */
  readonly entries: number
  readonly expiring: number
  readonly bytes: number
  /** The first 100. */
  readonly problems: readonly StoreProblem[]
}

/** What a reading of a data file has come to. */
export interface DataFileReading {
  readonly report: VerifyReport
  /** Every entry that LMDB counts was read, in order and by its key: no page of the content is missing, whatever is wrong with the records. */
  readonly foundAll: boolean
}

const MAX_PROBLEMS = 100
const PAGE_ENTRIES = 1_024
const PREFIX = Uint8Array.of(ENTRY_PREFIX)
const NO_PREFIX = new Uint8Array(0)
const FIRST = Uint8Array.of(0)
const AFTER_LAST = new Uint8Array(EXPIRY_KEY_BYTES + 1).fill(255)

/** Looks at what belongs to a store beside its data file; `state` reads the state that the data file has now. */
type VerifyBeside = (state: () => StoreState) => readonly StoreProblem[]

/**
 * Reads everything in a store, in this process: a cut-off file can end it. Calls `onRecord` with each record. Throws where it
 * cannot be read for a reason that tells nothing about the store.
 */
export function verifyHere(dataPath: string, onRecord: () => void, beside: VerifyBeside): DataFileReading {
  const problems: StoreProblem[] = []
  const note = (what: string, reason: string) => {
    if (problems.length < MAX_PROBLEMS) problems.push({ what, reason })
  }
  const noteTree = (what: string, reason: string) => {
    foundAll = false
    note(what, reason)
  }
  let foundAll = true
  let entries = 0
  let expiring = 0
  let bytes = 0
  try {
    // LMDB would make a file that is missing.
    statSync(dataPath)
    const environment = openEnvironment(dataPath, { readOnly: true, alone: true })
    environment.root.resetReadTxn()
    const transaction = environment.root.useReadTransaction() as unknown as ReadTransaction
    const slot = slotOf(environment, stateOf(environment, transaction).generation)
    const counted = { entries: slot.entries.getStats().entryCount, index: slot.expiry.getStats().entryCount }
    const keys = new KeyScratch()
    let last: Uint8Array | undefined
    for (const { key, value } of everything(slot.entries, transaction, PREFIX)) {
      entries++
      onRecord()
      if (last !== undefined && compareBytes(last, key) >= 0)
        noteTree(describeKey(key), 'is not in key order')
      last = key
      if (slot.entries.getBinaryFast(keys.entry(key, 0, key.length), { transaction }) === undefined) {
        noteTree(describeKey(key), 'cannot be found by its key')
      }
      try {
        checkRecord(value, key)
        bytes += key.length + recordPart(value, key).length
        const expiresAtMs = recordExpiry(value)
        if (expiresAtMs !== Infinity) {
          expiring++
          if (!isIndexed(slot, transaction, expiresAtMs, key)) {
            note(describeKey(key), 'is missing in the expiry index')
          }
        }
      } catch (error) {
        note(describeKey(key), isStateError(error, 'CORRUPTION') ? error.details.reason : reasonOf(error))
      }
    }
    let indexed = 0
    for (const _ of everything(slot.expiry, transaction, NO_PREFIX)) {
      indexed++
      onRecord()
    }
    if (entries !== counted.entries)
      noteTree('entries', `${entries} were found, the store counts ${counted.entries}`)
    if (indexed !== counted.index)
      noteTree('expiry index', `${indexed} were found, the store counts ${counted.index}`)
    if (indexed !== expiring)
      note('expiry index', `has ${indexed} entries for ${expiring} records that expire`)
    transaction.done()
    const state = () => {
      environment.root.resetReadTxn()
      return stateOf(environment)
    }
    for (const { what, reason } of beside(state)) note(what, reason)
  } catch (error) {
    if (!isDamage(error)) throw error
    noteTree('store', reasonOf(error))
  }
  return { report: { ok: problems.length === 0, entries, expiring, bytes, problems }, foundAll }
}

/** Numbers of LMDB's own errors that do not come from what is stored, but from who else uses it and how much there is to use. */
const MDB_READERS_FULL = -30790
const MDB_MAP_RESIZED = -30785
const CIRCUMSTANCES = new Set([MDB_READERS_FULL, MDB_MAP_RESIZED])
/** The system's numbers and names for what a damaged file leads to: an impossible request, a file that is not there. */
const EINVAL = 22
const ENOENT = 2

/** Whether an error says that the store is damaged, and not that it could not be read: permissions, memory, descriptors, the device. */
function isDamage(error: unknown): boolean {
  if (isStateError(error)) {
    if (error.code === 'STORAGE_ERROR') return isDamage(error.cause)
    return error.code === 'CORRUPTION'
  }
  const code = (error as { readonly code?: unknown } | null | undefined)?.code
  if (typeof code === 'number')
    return code > 0 ? code === EINVAL || code === ENOENT : !CIRCUMSTANCES.has(code)
  return (
    typeof code !== 'string' || code === 'ENOENT' || (code.startsWith('ERR_') && code !== 'ERR_ACCESS_DENIED')
  )
}

/** `transaction` undefined: as it is now. */
function stateOf({ meta }: Environment, transaction?: ReadTransaction): StoreState {
  const record = meta.getBinaryFast(STATE_KEY, transaction && { transaction })
  if (record === undefined) throw new Error('its state is missing')
  return decodeStoreState(record.subarray(0, meta.lastSize))
}

function isIndexed(
  { expiry }: Slot,
  transaction: ReadTransaction,
  expiresAtMs: number,
  key: Uint8Array,
): boolean {
  const indexKey = Buffer.alloc(EXPIRY_KEY_BYTES + key.length)
  indexKey.writeBigUInt64BE(BigInt(expiresAtMs))
  indexKey.set(key, EXPIRY_KEY_BYTES)
  return expiry.getBinaryFast(indexKey, { transaction }) !== undefined
}

function* everything(
  table: Table,
  transaction: ReadTransaction,
  prefix: Uint8Array,
): Generator<{ readonly key: Uint8Array; readonly value: Uint8Array }, void, undefined> {
  let start: Uint8Array = FIRST
  for (;;) {
    let found = 0
    let last: Uint8Array | undefined
    for (const item of table.getRange({ start, end: AFTER_LAST, limit: PAGE_ENTRIES, transaction })) {
      found++
      last = item.key
      yield item
    }
    if (found < PAGE_ENTRIES || last === undefined) return
    start = Buffer.concat([prefix, last, FIRST])
  }
}

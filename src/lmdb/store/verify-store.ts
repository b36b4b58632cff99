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
import { misplacedPages } from './page-places.js'
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
  const findings = new Findings()
  try {
    // LMDB would make a file that is missing.
    statSync(dataPath)
    const environment = openEnvironment(dataPath, { readOnly: true, alone: true })
    environment.root.resetReadTxn()
    const transaction = environment.root.useReadTransaction() as unknown as ReadTransaction
    const slot = slotOf(environment, stateOf(environment, transaction).generation)
    // Counted at the instant of the transaction: another process may write meanwhile.
    const counted = { entries: slot.entries.getStats().entryCount, index: slot.expiry.getStats().entryCount }
    for (const { page, reason } of misplacedPages(dataPath, onRecord))
      findings.noteTree(`page ${page}`, reason)
    const content = { slot, transaction, counted, findings, onRecord }
    readEntries(content)
    readExpiryIndex(content)
    transaction.done()
    const state = () => {
      environment.root.resetReadTxn()
      return stateOf(environment)
    }
    for (const { what, reason } of beside(state)) findings.note(what, reason)
  } catch (error) {
    if (!isDamage(error)) throw error
    findings.noteTree('store', reasonOf(error))
  }
  return findings.reading
}

/** What is read, and what is told of it. */
interface Content {
  readonly slot: Slot
  readonly transaction: ReadTransaction
  /** By LMDB itself. */
  readonly counted: { readonly entries: number; readonly index: number }
  readonly findings: Findings
  readonly onRecord: () => void
}

class Findings {
  entries = 0
  expiring = 0
  bytes = 0
  readonly #problems: StoreProblem[] = []
  #foundAll = true

  note(what: string, reason: string): void {
    if (this.#problems.length < MAX_PROBLEMS) this.#problems.push({ what, reason })
  }

  /** Not all that LMDB counts can be found. */
  noteTree(what: string, reason: string): void {
    this.#foundAll = false
    this.note(what, reason)
  }

  get reading(): DataFileReading {
    const { entries, expiring, bytes } = this
    const problems = this.#problems
    return {
      report: { ok: problems.length === 0, entries, expiring, bytes, problems },
      foundAll: this.#foundAll,
    }
  }
}

function readEntries(content: Content): void {
  const { slot, transaction, counted, findings, onRecord } = content
  const keys = new KeyScratch()
  let last: Uint8Array | undefined
  for (const { key, value } of everything(slot.entries, transaction, PREFIX)) {
    findings.entries++
    onRecord()
    if (last !== undefined && compareBytes(last, key) >= 0)
      findings.noteTree(describeKey(key), 'is not in key order')
    last = key
    if (slot.entries.getBinaryFast(keys.entry(key, 0, key.length), { transaction }) === undefined)
      findings.noteTree(describeKey(key), 'cannot be found by its key')
    try {
      readRecord(content, key, value)
    } catch (error) {
      const isCorruption = isStateError(error, 'CORRUPTION')
      findings.note(describeKey(key), isCorruption ? error.details.reason : reasonOf(error))
    }
  }
  if (findings.entries !== counted.entries)
    findings.noteTree('entries', `${findings.entries} were found, the store counts ${counted.entries}`)
}

/** Throws where the record is damaged. */
function readRecord({ slot, transaction, findings }: Content, key: Uint8Array, value: Uint8Array): void {
  checkRecord(value, key)
  findings.bytes += key.length + recordPart(value, key).length
  const expiresAtMs = recordExpiry(value)
  if (expiresAtMs === Infinity) return
  findings.expiring++
  if (!isIndexed(slot, transaction, expiresAtMs, key))
    findings.note(describeKey(key), 'is missing in the expiry index')
}

function readExpiryIndex({ slot, transaction, counted, findings, onRecord }: Content): void {
  const { expiring } = findings
  let indexed = 0
  for (const _ of everything(slot.expiry, transaction, NO_PREFIX)) {
    indexed++
    onRecord()
  }
  if (indexed !== counted.index)
    findings.noteTree('expiry index', `${indexed} were found, the store counts ${counted.index}`)
  if (indexed !== expiring)
    findings.note('expiry index', `has ${indexed} entries for ${expiring} records that expire`)
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

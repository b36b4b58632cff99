import { EntryBlockCursor, type PlacedEntry } from '../../backend/entry-block.js'
import type { KeyStretch } from '../../backend/scan-range.js'
import { copyBytes } from '../../base/bytes.js'
import { wholeMs } from '../../base/clock.js'
import { StateError } from '../../base/errors.js'
import { runThrough } from '../../base/slices.js'
import type { LeaseMark } from '../../files/lease-watch.js'
import { Entries } from '../../log/entries.js'
import { EntryCursor } from '../../log/entry-cursor.js'
import { KeyOrder } from '../../log/order/key-order.js'
import { latestAddresses } from '../../log/order/latest-versions.js'
import { SegmentTable, type SharedSegment } from '../../log/segment-table.js'
import type { LogMark } from '../log/log-identity.js'
import { STORE_PAGE_BYTES } from '../store/data-file.js'
import {
  assertRoomToGrow,
  bytesInUse,
  bytesToLastPage,
  type Environment,
  KeyScratch,
  openEnvironment,
  type Slot,
  slotOf,
  type TableStats,
} from '../store/environment.js'
import { AFTER_LAST_KEY, RecordWriter, recordExpiry } from '../store/record.js'
import { RecordBlockCursor } from '../store/record-block.js'
import { StoreGuard } from '../store/store-guard.js'
import { decodeStoreState, encodeStoreState, STATE_KEY, type StoreState } from '../store/store-state.js'
import type { LmdbCompression } from '../types.js'
import { FileEnd } from './file-end.js'
import type { StoreShape, TreeShape } from './store-growth.js'
import { type Steps, transaction, walked } from './transaction.js'

export interface StoreWriterOptions {
  readonly dataPath: string
  /** The lease under which it writes. */
  readonly lease: LeaseMark
  readonly compression: LmdbCompression
  /** Bytes of blocks after which a bulk replacement commits what it has written so far into the slot not in use. */
  readonly replaceBytes: number
  /** The thread that opened the store may be terminated, and this one with it. */
  readonly terminable: boolean
}

/** A frozen generation, to be committed in one transaction. */
export interface CommitJob {
  readonly segments: readonly SharedSegment[]
  readonly cleared: boolean
  readonly clockMs: number
  /** Up to where the store holds the log with this; undefined: there is none. */
  readonly log: LogMark | undefined
  /** It brings nothing, and is not counted: what a log needs of the store is told by the number of commits. */
  readonly uncounted?: true
}

/** Content that is to be put in the place of another one. */
export interface Replacement {
  readonly clockMs: number
  /** What the log has up to here is of the content that goes; undefined: there is no log. */
  readonly log: LogMark | undefined
  /** The pages of the store's entries may take so many bytes. */
  readonly maxBytes: number
}

/** Entries of a replacement, in key order. */
export interface ReplacingBlock {
  readonly bytes: Uint8Array
  /** They were made ready elsewhere (record-block.ts); otherwise it is an `EntryBlock`. */
  readonly isPrepared: boolean
}

export interface StretchReplacement extends Replacement {
  readonly stretch: KeyStretch
}

/** How things stand after a commit. */
export interface CommitResult {
  readonly generation: number
  readonly entries: number
  /** Bytes of the pages in use. */
  readonly usedBytes: number
  readonly shape: StoreShape
  /** Records written and removed by this commit, and their bytes on disk. */
  readonly records: number
  readonly recordBytes: number
  /** The store's time. */
  readonly clockMs: number
  /** Counts the commits. */
  readonly flushSequence: number
}

/** Copies that LMDB may write for one record: a page of the records, one of the expiry index, and what leads there. */
const PAGES_PER_RECORD = 4
const NO_VALUE = Buffer.alloc(0)
const PAGE_ENTRIES = 256
/** The first commit of a bulk replacement is so much smaller than the usual one, and each that follows up to twice as large: the disk has less to wait for. */
const FIRST_REPLACE_DIVISOR = 8
/** The content of a new store: none. */
const FIRST_STATE: StoreState = { format: 1, generation: 0, clockMs: 0, flushSequence: 0 }

/** All writing to a store, one call at a time: runs in the writer thread. */
export class StoreWriter {
  readonly #environment: Environment
  readonly #dataPath: string
  readonly #guard: StoreGuard
  readonly #fileEnd: FileEnd
  readonly #records: RecordWriter
  readonly #replaceBytes: number
  readonly #terminable: boolean
  readonly #keys = new KeyScratch()
  readonly #indexKeys = new KeyScratch()
  #state: StoreState
  /** Blocks of a bulk replacement that await their commit. */
  #blocks: ReplacingBlock[] = []
  #blockBytes = 0
  /** So many of their bytes begin one. */
  #dueBytes = 0
  /** Why a transaction has failed: LMDB is asked for no other one, whatever waits already. */
  #failure: { readonly error: unknown } | undefined

  static async open(options: StoreWriterOptions): Promise<StoreWriter> {
    const environment = openEnvironment(options.dataPath, { readOnly: false })
    const { meta } = environment
    const record = meta.getBinaryFast(STATE_KEY)
    const state = record === undefined ? FIRST_STATE : decodeStoreState(record.subarray(0, meta.lastSize))
    const writer = new StoreWriter(environment, state, options)
    if (record === undefined) await writer.#transaction(0, (steps) => writer.#putState(steps, state))
    await writer.#clearUnfinished()
    return writer
  }

  private constructor(
    environment: Environment,
    state: StoreState,
    { dataPath, lease, compression, replaceBytes, terminable }: StoreWriterOptions,
  ) {
    this.#environment = environment
    this.#dataPath = dataPath
    this.#guard = new StoreGuard(dataPath, lease)
    this.#fileEnd = new FileEnd(dataPath)
    this.#state = state
    this.#records = new RecordWriter(compression)
    this.#replaceBytes = replaceBytes
    this.#terminable = terminable
  }

  /** How things stand now. */
  status(): CommitResult {
    return this.#result(0, 0)
  }

  async commit({ segments, cleared, clockMs, log, uncounted }: CommitJob): Promise<CommitResult> {
    const table = SegmentTable.attach(segments)
    const entry = new EntryCursor(new Entries(table))
    const addresses = latestAddresses(table)
    runThrough(new KeyOrder(table).sort(addresses))
    let recordBytes = 0
    const next = this.#nextState(clockMs, log)
    const state = uncounted ? { ...next, flushSequence: this.#state.flushSequence } : next
    const bytes = segments.reduce((sum, { buffer }) => sum + buffer.byteLength, 0)
    await this.#transaction(bytes + addresses.length * PAGES_PER_RECORD * STORE_PAGE_BYTES, (steps) => {
      const slot = this.#slot(0)
      if (cleared) clearSlot(steps, slot)
      const indexed = !cleared && slot.expiry.getStats().entryCount > 0
      for (const address of addresses) {
        entry.goTo(address)
        if (indexed) this.#removeDeadline(steps, slot, entry)
        recordBytes += entry.tombstone ? this.#remove(steps, slot, entry) : this.#put(steps, slot, entry)
      }
      this.#putState(steps, state)
    })
    this.#state = state
    return this.#result(addresses.length, recordBytes)
  }

  /** Empties the slot not in use, for a replacement of all content. */
  async beginReplace(): Promise<void> {
    this.#blocks = []
    this.#blockBytes = 0
    this.#dueBytes = this.#replaceBytes / FIRST_REPLACE_DIVISOR
    await this.#transaction(0, (steps) => clearSlot(steps, this.#slot(1)))
  }

  /** Adds the next block of a replacement, in key order. */
  async replaceBlock(block: ReplacingBlock): Promise<void> {
    this.#blocks.push(block)
    this.#blockBytes += block.bytes.length
    if (this.#blockBytes < this.#dueBytes) return
    this.#dueBytes = Math.min(2 * this.#dueBytes, this.#replaceBytes)
    await this.#transaction(2 * this.#blockBytes, (steps) => this.#appendBlocks(steps))
  }

  /**
   * Puts the replacement in service, in one commit, and gives the former content's pages back. `BACKEND_FULL`, with everything as it
   * was, where it takes more than `maxBytes`.
   */
  async finishReplace({ clockMs, maxBytes, log }: Replacement): Promise<CommitResult> {
    const state = { ...this.#nextState(clockMs, log), generation: this.#state.generation + 1 }
    await this.#transaction(2 * this.#blockBytes, (steps) => this.#appendBlocks(steps))
    if (bytesOf(this.#slot(1)) > maxBytes) {
      throw new StateError('BACKEND_FULL', { used: bytesOf(this.#slot(0)), capacity: maxBytes })
    }
    await this.#transaction(0, (steps) => this.#putState(steps, state))
    this.#state = state
    await this.#transaction(0, (steps) => clearSlot(steps, this.#slot(1)))
    return this.#result(0, 0)
  }

  /**
   * Puts the replacement in the place of what is in a stretch of keys, in one commit; everything else stays. `BACKEND_FULL`, with
   * everything as it was, where the entries would take more than `maxBytes`.
   */
  async finishReplaceOf({ stretch, clockMs, maxBytes, log }: StretchReplacement): Promise<CommitResult> {
    const state = this.#nextState(clockMs, log)
    const slot = this.#slot(0)
    const loaded = this.#slot(1)
    await this.#transaction(2 * this.#blockBytes, (steps) => this.#appendBlocks(steps))
    this.#assertFits(slot, loaded, stretch, maxBytes)
    // At most every page of the content is copied, and what was loaded comes once more.
    const bytes = bytesOf(slot) + 2 * bytesOf(loaded)
    await this.#transaction(bytes, (steps) => {
      for (const { key, value } of entriesOf(slot, stretch)) {
        const expiresAtMs = recordExpiry(value)
        if (expiresAtMs !== Infinity) {
          steps.remove(slot.expiry, this.#indexKeys.expiry(expiresAtMs, key, 0, key.length))
        }
        steps.remove(slot.entries, this.#keys.entry(key, 0, key.length))
      }
      for (const { key, value } of entriesOf(loaded, stretch)) {
        steps.put(slot.entries, this.#keys.entry(key, 0, key.length), value)
        const expiresAtMs = recordExpiry(value)
        if (expiresAtMs === Infinity) continue
        steps.put(slot.expiry, this.#indexKeys.expiry(expiresAtMs, key, 0, key.length), NO_VALUE)
      }
      clearSlot(steps, loaded)
      this.#putState(steps, state)
    })
    this.#state = state
    return this.#result(0, 0)
  }

  /**
   * Counts as a put does: pages for what is there, bytes for what comes; what comes for something else counts for the difference,
   * so that a store which is full takes its own entries back.
   */
  #assertFits(slot: Slot, loaded: Slot, stretch: KeyStretch, maxBytes: number): void {
    const used = bytesOf(slot)
    if (used + bytesOf(loaded) <= maxBytes) return
    const growth = recordBytes(entriesOf(loaded, stretch)) - recordBytes(entriesOf(slot, stretch))
    if (growth > 0 && used + growth > maxBytes) {
      throw new StateError('BACKEND_FULL', { used, capacity: maxBytes })
    }
  }

  async abandonReplace(): Promise<void> {
    await this.beginReplace()
  }

  async close(): Promise<void> {
    await this.#environment.close()
  }

  /** What a replacement that did not finish has left. */
  async #clearUnfinished(): Promise<void> {
    const other = this.#slot(1)
    if (other.entries.getStats().entryCount === 0 && other.expiry.getStats().entryCount === 0) return
    await this.#transaction(0, (steps) => clearSlot(steps, other))
  }

  /** Of the record that is about to be replaced or removed, as the last commit left it. */
  #removeDeadline(steps: Steps, slot: Slot, { bytes, keyStart, keyLength }: PlacedEntry): void {
    const record = slot.entries.getBinaryFast(this.#keys.entry(bytes, keyStart, keyLength))
    const expiresAtMs = record === undefined ? Infinity : recordExpiry(record)
    if (expiresAtMs === Infinity) return
    steps.remove(slot.expiry, this.#indexKeys.expiry(expiresAtMs, bytes, keyStart, keyLength))
  }

  /** Returns how many bytes go. */
  #remove(steps: Steps, slot: Slot, { bytes, keyStart, keyLength }: PlacedEntry): number {
    steps.remove(slot.entries, this.#keys.entry(bytes, keyStart, keyLength))
    return keyLength
  }

  /** Returns how many bytes come. */
  #put(steps: Steps, slot: Slot, entry: PlacedEntry): number {
    const { bytes, keyStart, keyLength, expiresAtMs } = entry
    const record = this.#records.encode(entry)
    steps.put(slot.entries, this.#keys.entry(bytes, keyStart, keyLength), record)
    this.#forgetWritten(steps)
    if (expiresAtMs !== Infinity) {
      steps.put(slot.expiry, this.#indexKeys.expiry(expiresAtMs, bytes, keyStart, keyLength), NO_VALUE)
    }
    return keyLength + record.length
  }

  /** Writes blocks behind what the slot not in use holds: their keys come in order. */
  #appendBlocks(steps: Steps): void {
    const slot = this.#slot(1)
    for (const { bytes, isPrepared } of this.#blocks) {
      if (isPrepared) this.#appendPrepared(steps, slot, new RecordBlockCursor(bytes))
      else this.#appendEntries(steps, slot, new EntryBlockCursor(bytes))
    }
    this.#blocks = []
    this.#blockBytes = 0
  }

  #appendPrepared(steps: Steps, slot: Slot, cursor: RecordBlockCursor): void {
    const { bytes, record } = cursor
    while (cursor.next()) {
      const { keyStart, keyLength, expiresAtMs } = cursor
      steps.append(slot.entries, this.#keys.entry(bytes, keyStart, keyLength), record)
      if (expiresAtMs === Infinity) continue
      steps.put(slot.expiry, this.#indexKeys.expiry(expiresAtMs, bytes, keyStart, keyLength), NO_VALUE)
    }
  }

  #appendEntries(steps: Steps, slot: Slot, cursor: EntryBlockCursor): void {
    while (cursor.next()) this.#append(steps, slot, cursor)
  }

  #append(steps: Steps, slot: Slot, cursor: EntryBlockCursor): void {
    const { bytes, keyStart, keyLength } = cursor
    cursor.expiresAtMs = wholeMs(cursor.expiresAtMs)
    const record = this.#records.encode(cursor)
    steps.append(slot.entries, this.#keys.entry(bytes, keyStart, keyLength), record)
    this.#forgetWritten(steps)
    if (cursor.expiresAtMs === Infinity) return
    steps.put(slot.expiry, this.#indexKeys.expiry(cursor.expiresAtMs, bytes, keyStart, keyLength), NO_VALUE)
  }

  /** A record that was handed over. What was only noted is still to be read. */
  #forgetWritten(steps: Steps): void {
    if (steps === walked) this.#records.forget()
  }

  #nextState(clockMs: number, log: LogMark | undefined): StoreState {
    const state = { ...this.#state, clockMs, flushSequence: this.#state.flushSequence + 1 }
    return log === undefined ? state : { ...state, log }
  }

  #putState(steps: Steps, state: StoreState): void {
    steps.put(this.#environment.meta, STATE_KEY, encodeStoreState(state))
  }

  /** `ahead` 0: the slot in use; 1: the other one. */
  #slot(ahead: 0 | 1): Slot {
    return slotOf(this.#environment, this.#state.generation + ahead)
  }

  #result(records: number, recordBytes: number): CommitResult {
    const slot = this.#slot(0)
    const entries = slot.entries.getStats()
    return {
      generation: this.#state.generation,
      entries: entries.entryCount,
      usedBytes: bytesOf(slot),
      shape: { entries: shapeOf(entries), expiry: shapeOf(slot.expiry.getStats()) },
      records,
      recordBytes,
      clockMs: this.#state.clockMs,
      flushSequence: this.#state.flushSequence,
    }
  }

  /** `bytes`: by how much the file grows at most, beside what LMDB needs for its own books. */
  async #transaction(bytes: number, take: (steps: Steps) => void): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure.error
    try {
      assertRoomToGrow(this.#environment, this.#dataPath, bytes)
      this.#guard.check()
      await transaction(this.#environment, this.#terminable, (steps) => {
        take(steps)
        this.#guard.check()
      })
      this.#guard.check()
      this.#fileEnd.reach(bytesToLastPage(this.#environment))
    } catch (error) {
      this.#failure = { error }
      throw error
    }
    this.#records.forget()
  }
}

/** The entries of a stretch, a page at a time: what has been given may be removed before the next is asked for. */
function* entriesOf(
  { entries }: Slot,
  { from, until }: KeyStretch,
): Generator<{ readonly key: Uint8Array; readonly value: Uint8Array }, void, undefined> {
  const keys = new KeyScratch()
  const end = until === undefined ? AFTER_LAST_KEY : copyBytes(keys.entry(until, 0, until.length))
  let start = copyBytes(keys.entry(from, 0, from.length))
  for (;;) {
    const page = [...entries.getRange({ start, end, limit: PAGE_ENTRIES })]
    yield* page
    const last = page.at(-1)
    if (last === undefined || page.length < PAGE_ENTRIES) return
    // The smallest key above the last one.
    start = Uint8Array.of(...keys.entry(last.key, 0, last.key.length), 0)
  }
}

function recordBytes(records: Iterable<{ readonly key: Uint8Array; readonly value: Uint8Array }>): number {
  let bytes = 0
  for (const { key, value } of records) bytes += key.length + value.length
  return bytes
}

function bytesOf({ entries, expiry }: Slot): number {
  return bytesInUse(entries.getStats()) + bytesInUse(expiry.getStats())
}

function shapeOf({ treeDepth, treeBranchPageCount, treeLeafPageCount }: TableStats): TreeShape {
  return { depth: treeDepth, branchPages: treeBranchPageCount, leafPages: treeLeafPageCount }
}

function clearSlot(steps: Steps, { entries, expiry }: Slot): void {
  steps.clear(entries)
  steps.clear(expiry)
}

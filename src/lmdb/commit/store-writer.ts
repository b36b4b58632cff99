import { EntryBlockCursor } from '../../backend/entry-block.js'
import { wholeMs } from '../../backend/expiry.js'
import { runThrough } from '../../base/slices.js'
import type { LeaseMark } from '../../files/lease-watch.js'
import { Entries } from '../../log/entries.js'
import { KeyOrder } from '../../log/order/key-order.js'
import { latestAddresses } from '../../log/order/latest-versions.js'
import { SegmentTable, type SharedSegment } from '../../log/segment-table.js'
import { STORE_PAGE_BYTES } from '../store/data-file.js'
import {
  assertRoomToGrow,
  bytesInUse,
  type Environment,
  KeyScratch,
  openEnvironment,
  type Slot,
  slotOf,
} from '../store/environment.js'
import {
  AFTER_LAST_KEY,
  decodeStoreState,
  encodeStoreState,
  RecordWriter,
  recordExpiry,
  STATE_KEY,
  type StoreState,
} from '../store/record.js'
import { StoreGuard } from '../store/store-guard.js'
import type { LmdbCompression } from '../types.js'

export interface StoreWriterOptions {
  readonly dataPath: string
  /** The lease under which it writes. */
  readonly lease: LeaseMark
  readonly compression: LmdbCompression
}

/** A frozen generation, to be committed in one transaction. */
export interface CommitJob {
  readonly segments: readonly SharedSegment[]
  readonly cleared: boolean
  readonly clockMs: number
}

/** The keys of `[from, until)`; `until` undefined: to the last one. */
export interface KeyStretch {
  readonly from: Uint8Array
  readonly until: Uint8Array | undefined
}

/** How things stand after a commit. */
export interface CommitResult {
  readonly generation: number
  readonly entries: number
  /** Bytes of the pages in use. */
  readonly usedBytes: number
  /** Records written and removed by this commit, and their bytes on disk. */
  readonly records: number
  readonly recordBytes: number
  /** The store's time. */
  readonly clockMs: number
}

/** Bytes of blocks after which a bulk replacement commits what it has written so far into the slot not in use. */
const REPLACE_COMMIT_BYTES = 32 * 1024 * 1024
/** Copies that LMDB may write for one record: a page of the records, one of the expiry index, and what leads there. */
const PAGES_PER_RECORD = 4
const NO_VALUE = Buffer.alloc(0)
const PAGE_ENTRIES = 256

/** All writing to a store: runs in the writer thread. */
export class StoreWriter {
  readonly #environment: Environment
  readonly #dataPath: string
  readonly #guard: StoreGuard
  readonly #records: RecordWriter
  readonly #keys = new KeyScratch()
  readonly #indexKeys = new KeyScratch()
  #state: StoreState
  /** Blocks of a bulk replacement that await their commit. */
  #blocks: Uint8Array[] = []
  #blockBytes = 0

  constructor({ dataPath, lease, compression }: StoreWriterOptions) {
    this.#environment = openEnvironment(dataPath, { readOnly: false })
    this.#dataPath = dataPath
    this.#guard = new StoreGuard(dataPath, lease)
    this.#records = new RecordWriter(compression)
    this.#state = this.#readState()
    const other = this.#slot(1)
    if (other.entries.getStats().entryCount > 0 || other.expiry.getStats().entryCount > 0) {
      // A replacement that did not finish.
      this.#transaction(0, () => clearSlot(other))
    }
  }

  /** How things stand now. */
  status(): CommitResult {
    return this.#result(0, 0)
  }

  commit({ segments, cleared, clockMs }: CommitJob): CommitResult {
    const table = SegmentTable.attach(segments)
    const entries = new Entries(table)
    const addresses = latestAddresses(table)
    runThrough(new KeyOrder(table).sort(addresses))
    let recordBytes = 0
    const state = { ...this.#state, clockMs, flushSequence: this.#state.flushSequence + 1 }
    const bytes = segments.reduce((sum, { buffer }) => sum + buffer.byteLength, 0)
    this.#transaction(bytes + addresses.length * PAGES_PER_RECORD * STORE_PAGE_BYTES, () => {
      const slot = this.#slot(0)
      if (cleared) clearSlot(slot)
      const indexed = slot.expiry.getStats().entryCount > 0
      for (const address of addresses) recordBytes += this.#write(slot, entries, address, indexed)
      this.#putState(state)
    })
    this.#state = state
    return this.#result(addresses.length, recordBytes)
  }

  /** Empties the slot not in use, for a replacement of all content. */
  beginReplace(): void {
    this.#blocks = []
    this.#blockBytes = 0
    this.#transaction(0, () => clearSlot(this.#slot(1)))
  }

  /** Adds the next block of a replacement, in key order. */
  replaceBlock(bytes: Uint8Array): void {
    this.#blocks.push(bytes)
    this.#blockBytes += bytes.length
    if (this.#blockBytes >= REPLACE_COMMIT_BYTES) {
      this.#transaction(2 * this.#blockBytes, () => this.#appendBlocks())
    }
  }

  /** Puts the replacement in service, in one commit, and gives the former content's pages back. */
  finishReplace(clockMs: number): CommitResult {
    const { generation, flushSequence } = this.#state
    const state = { ...this.#state, generation: generation + 1, flushSequence: flushSequence + 1, clockMs }
    this.#transaction(2 * this.#blockBytes, () => {
      this.#appendBlocks()
      this.#putState(state)
    })
    this.#state = state
    this.#transaction(0, () => clearSlot(this.#slot(1)))
    return this.#result(0, 0)
  }

  /** Puts the replacement in the place of what is in a stretch of keys, in one commit; everything else stays. */
  finishReplaceOf(stretch: KeyStretch, clockMs: number): CommitResult {
    const state = { ...this.#state, flushSequence: this.#state.flushSequence + 1, clockMs }
    const slot = this.#slot(0)
    const loaded = this.#slot(1)
    // At most every page of the content is copied, and what was loaded comes once more.
    const bytes = 4 * this.#blockBytes + bytesOf(slot) + 2 * bytesOf(loaded)
    this.#transaction(bytes, () => {
      this.#appendBlocks()
      for (const { key, value } of entriesOf(slot, stretch)) {
        const expiresAtMs = recordExpiry(value)
        if (expiresAtMs !== Infinity) {
          slot.expiry.removeSync(this.#indexKeys.expiry(expiresAtMs, key, 0, key.length))
        }
        slot.entries.removeSync(this.#keys.entry(key, 0, key.length))
      }
      for (const { key, value } of entriesOf(loaded, stretch)) {
        slot.entries.putSync(this.#keys.entry(key, 0, key.length), value)
        const expiresAtMs = recordExpiry(value)
        if (expiresAtMs === Infinity) continue
        slot.expiry.putSync(this.#indexKeys.expiry(expiresAtMs, key, 0, key.length), NO_VALUE)
      }
      clearSlot(loaded)
      this.#putState(state)
    })
    this.#state = state
    return this.#result(0, 0)
  }

  abandonReplace(): void {
    this.beginReplace()
  }

  async close(): Promise<void> {
    await this.#environment.close()
  }

  #write(slot: Slot, entries: Entries, address: number, indexed: boolean): number {
    const bytes = entries.segmentBytes(address)
    const keyStart = entries.keyStart(address)
    const keyLength = entries.keyLength(address)
    const key = this.#keys.entry(bytes, keyStart, keyLength)
    if (indexed) {
      const old = slot.entries.getBinaryFast(key)
      const oldExpiresAtMs = old === undefined ? Infinity : recordExpiry(old)
      if (oldExpiresAtMs !== Infinity) {
        slot.expiry.removeSync(this.#indexKeys.expiry(oldExpiresAtMs, bytes, keyStart, keyLength))
      }
    }
    if (entries.isTombstone(address)) {
      slot.entries.removeSync(key)
      return keyLength
    }
    const valueStart = entries.valueStart(address)
    const valueLength = entries.valueLength(address)
    return this.#put(
      slot,
      key,
      bytes,
      keyStart,
      keyLength,
      bytes,
      valueStart,
      valueLength,
      entries.expiresAtMs(address),
      false,
    )
  }

  #put(
    slot: Slot,
    key: Uint8Array,
    keyBytes: Uint8Array,
    keyStart: number,
    keyLength: number,
    valueBytes: Uint8Array,
    valueStart: number,
    valueLength: number,
    expiresAtMs: number,
    append: boolean,
  ): number {
    const record = this.#records.encode(
      keyBytes,
      keyStart,
      keyLength,
      valueBytes,
      valueStart,
      valueLength,
      expiresAtMs,
    )
    if (append) slot.entries.putSync(key, record, { append })
    else slot.entries.putSync(key, record)
    if (expiresAtMs !== Infinity) {
      slot.expiry.putSync(this.#indexKeys.expiry(expiresAtMs, keyBytes, keyStart, keyLength), NO_VALUE)
    }
    return keyLength + record.length
  }

  #appendBlocks(): void {
    const slot = this.#slot(1)
    for (const block of this.#blocks) {
      const cursor = new EntryBlockCursor(block)
      while (cursor.next()) {
        const { bytes, keyStart, keyLength, valueStart, valueLength } = cursor
        const expiresAtMs = wholeMs(cursor.expiresAtMs)
        const key = this.#keys.entry(bytes, keyStart, keyLength)
        this.#put(slot, key, bytes, keyStart, keyLength, bytes, valueStart, valueLength, expiresAtMs, true)
      }
    }
    this.#blocks = []
    this.#blockBytes = 0
  }

  #readState(): StoreState {
    const record = this.#environment.meta.getBinaryFast(STATE_KEY)
    if (record !== undefined) {
      return decodeStoreState(record.subarray(0, this.#environment.meta.lastSize))
    }
    const state: StoreState = { format: 1, generation: 0, clockMs: 0, flushSequence: 0 }
    this.#transaction(0, () => this.#putState(state))
    return state
  }

  #putState(state: StoreState): void {
    this.#environment.meta.putSync(STATE_KEY, encodeStoreState(state))
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
      records,
      recordBytes,
      clockMs: this.#state.clockMs,
    }
  }

  /** `bytes`: by how much the action lets the file grow at most, beside what LMDB needs for its own books. */
  #transaction(bytes: number, action: () => void): void {
    assertRoomToGrow(this.#environment, this.#dataPath, bytes)
    this.#guard.check()
    this.#environment.root.transactionSync(() => {
      action()
      this.#guard.check()
    })
    this.#guard.check()
    this.#environment.root.resetReadTxn()
  }
}

/** The entries of a stretch, a page at a time: what has been given may be removed before the next is asked for. */
function* entriesOf(
  { entries }: Slot,
  { from, until }: KeyStretch,
): Generator<{ readonly key: Uint8Array; readonly value: Uint8Array }, void, undefined> {
  const keys = new KeyScratch()
  const end = until === undefined ? AFTER_LAST_KEY : keys.entry(until, 0, until.length).slice()
  let start = keys.entry(from, 0, from.length).slice()
  for (;;) {
    const page = [...entries.getRange({ start, end, limit: PAGE_ENTRIES })]
    yield* page
    const last = page.at(-1)
    if (last === undefined || page.length < PAGE_ENTRIES) return
    // The smallest key above the last one.
    start = Uint8Array.of(...keys.entry(last.key, 0, last.key.length), 0)
  }
}

function bytesOf({ entries, expiry }: Slot): number {
  return bytesInUse(entries.getStats()) + bytesInUse(expiry.getStats())
}

function clearSlot({ entries, expiry }: Slot): void {
  entries.clearSync()
  expiry.clearSync()
}

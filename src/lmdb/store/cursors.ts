// What a merged scan walks: sorted runs of entries in memory, pages of the store, keys to be looked up in it.

import type { EntryBlockBuilder, PlacedEntry } from '../../backend/entry-block.js'
import type { KeyInterval, KeyStretch } from '../../backend/scan-range.js'
import { StateError } from '../../base/errors.js'
import { runSliced } from '../../base/slices.js'
import { Entries } from '../../log/entries.js'
import { KeyOrder } from '../../log/order/key-order.js'
import { latestAddresses } from '../../log/order/latest-versions.js'
import { type KeyWalk, SortedKeys } from '../../log/order/sorted-keys.js'
import { SegmentTable, type SharedSegment } from '../../log/segment-table.js'
import { type DeletedRanges, partsOutside } from './deleted-ranges.js'
import { checkPlaced, decompressedValue, expiryAt, isCompressed } from './record.js'
import { RecordPage } from './record-page.js'
import { RecordFacts, type StoreView } from './store-view.js'

/** Where a cursor stands; `key` is undefined past its end. */
export interface Cursor {
  readonly key: Uint8Array | undefined
  advance(): void
  /** The value, as bytes of the caller's own; undefined where the key is deleted or has expired at `nowMs`. */
  read(nowMs: number): Uint8Array | undefined
  readonly expiresAtMs: number
  /** Nobody goes on with it: it is at its end. */
  close(): void
}

/** Entries of a log in the order of their keys. */
export interface SortedRun {
  readonly entries: Entries
  readonly keys: SortedKeys
  /** The version that counts of the key at an address, tombstones included; 0: none. */
  version(address: number): number
}

/** The keys of a log that nobody writes to any more, in order; sorted in slices, between which `check` may throw. */
export async function sortedKeys(segments: readonly SharedSegment[], check: () => void): Promise<SortedRun> {
  const table = SegmentTable.attach(segments)
  const addresses = latestAddresses(table)
  await runSliced(new KeyOrder(table).sort(addresses), check)
  return runOver(new Entries(table), addresses)
}

/** Addresses in order, each of which is the only version of its key. */
export function runOver(entries: Entries, sorted: Uint32Array): SortedRun {
  return { entries, keys: SortedKeys.of(sorted), version: (address) => address }
}

const NO_KEY = new Uint8Array(0)
const NO_KEYS = SortedKeys.over([])
const NO_VIEW = new DataView(NO_KEY.buffer)
/** Of a cursor that is closed. */
const NO_PAGE = new RecordPage()
const FIRST_PAGE = 32
const LARGEST_PAGE = 1024

export class RunCursor implements Cursor {
  key: Uint8Array | undefined
  expiresAtMs: number = Infinity
  readonly #run: SortedRun
  #keys: KeyWalk
  #address = 0

  constructor(run: SortedRun, reverse: boolean) {
    this.#run = run
    this.#keys = run.keys.walk(reverse)
    this.advance()
  }

  advance(): void {
    const keys = this.#keys
    for (let key = keys.next(); key !== 0; key = keys.next()) {
      const address = this.#run.version(key)
      if (address === 0) continue
      this.#address = address
      this.key = this.#run.entries.copyKey(address)
      return
    }
    this.key = undefined
  }

  read(nowMs: number): Uint8Array | undefined {
    const { entries } = this.#run
    if (entries.isTombstone(this.#address)) return undefined
    this.expiresAtMs = entries.expiresAtMs(this.#address)
    return this.expiresAtMs > nowMs ? entries.copyValue(this.#address) : undefined
  }

  close(): void {
    this.#keys = NO_KEYS.walk()
    this.key = undefined
  }
}

export class StoreCursor implements Cursor {
  expiresAtMs: number = Infinity
  readonly #view: StoreView
  readonly #reverse: boolean
  /** Where it is still to go, in its order. */
  readonly #stretches: KeyStretch[]
  /** Of the stretch that it is in, what was not read yet. */
  #from: Uint8Array = NO_KEY
  #until: Uint8Array | undefined
  #page: RecordPage
  readonly #placed: PlacedRecord = new PlacedRecord()
  /** A copy of the key that it is at, where somebody has asked for it. */
  #key: Uint8Array | undefined
  #at = -1
  #pageEntries: number
  #ended = true
  /** Entries that it was given by the store. */
  #given = 0

  /**
   * It passes over what was deleted. `covered`: what it gives may be hidden by other cursors, so that a limit does not tell how much
   * will be needed.
   */
  constructor(view: StoreView, interval: KeyInterval, deleted: DeletedRanges, covered: boolean) {
    const { reverse, limit } = interval
    this.#view = view
    this.#page = view.takePage()
    this.#reverse = reverse
    this.#stretches = partsOutside(interval, deleted)
    if (reverse) this.#stretches.reverse()
    this.#pageEntries = covered ? FIRST_PAGE : Math.min(Math.max(limit, 1), FIRST_PAGE)
    this.advance()
  }

  get key(): Uint8Array | undefined {
    if (this.#at >= this.#page.count) return undefined
    this.#key ??= this.#page.copyKey(this.#at)
    return this.#key
  }

  advance(): void {
    this.#key = undefined
    if (++this.#at === this.#page.count) this.#turnPage()
  }

  read(nowMs: number): Uint8Array | undefined {
    const placed = this.#place()
    this.expiresAtMs = placed.expiresAtMs
    return placed.expiresAtMs > nowMs ? placed.copyValue() : undefined
  }

  close(): void {
    const page = this.#page
    if (page === NO_PAGE) return
    this.#page = NO_PAGE
    this.#key = undefined
    this.#at = 0
    this.#ended = true
    this.#stretches.length = 0
    this.#view.giveBackPage(page)
  }

  /**
   * Packs what it is at and what comes after it, as far as it is below a key (`undefined`: all of it), until the block is full or `most`
   * entries were looked at. What has expired at `nowMs` is passed over. Returns how many entries were packed.
   */
  packBelow(bound: Uint8Array | undefined, builder: EntryBlockBuilder, nowMs: number, most: number): number {
    const page = this.#page
    let packed = 0
    for (let looked = 0; looked < most && this.#at < page.count && !builder.full; looked++) {
      if (bound !== undefined && page.compareKey(this.#at, bound) >= 0) break
      const placed = this.#place()
      if (placed.expiresAtMs > nowMs) {
        builder.addPlaced(placed)
        packed++
      }
      this.advance()
    }
    return packed
  }

  /**
   * For a cursor that has gone through a whole store, of which the view has counted the entries itself: LMDB has no checksums, and
   * passes over entries where one of its pages is damaged. `CORRUPTION` then.
   */
  assertWhole(): void {
    const { entryCount } = this.#view
    if (this.#given === entryCount) return
    const reason = `${this.#given} entries were found where the store counts ${entryCount}: a page of it is damaged; verify it`
    throw new StateError('CORRUPTION', { what: 'the content of the store', reason })
  }

  /** The entry that it is at, checked. */
  #place(): PlacedRecord {
    this.#placed.show(this.#page, this.#at)
    return this.#placed
  }

  #turnPage(): void {
    const page = this.#page
    if (page.count > 0) {
      const last = page.copyKey(page.count - 1)
      if (this.#reverse) this.#until = last
      else {
        // The smallest key above the last one.
        this.#from = new Uint8Array(last.length + 1)
        this.#from.set(last)
      }
    }
    this.#at = 0
    do {
      if (this.#ended && !this.#nextStretch()) return
      this.#ended = !this.#view.fill(page, this.#from, this.#until, this.#reverse, this.#pageEntries)
      this.#given += page.count
      this.#pageEntries = Math.min(this.#pageEntries * 4, LARGEST_PAGE)
    } while (page.count === 0)
  }

  /** False where none is left: the cursor is then at its end. */
  #nextStretch(): boolean {
    const stretch = this.#stretches.shift()
    if (stretch === undefined) {
      this.#page.clear()
      return false
    }
    this.#from = stretch.from
    this.#until = stretch.until
    return true
  }
}

/** An entry of a page, one at a time: where its key and its value lie. */
class PlacedRecord implements PlacedEntry {
  bytes: Uint8Array = NO_KEY
  view: DataView = NO_VIEW
  keyStart = 0
  keyLength = 0
  valueStart = 0
  valueLength = 0
  expiresAtMs: number = Infinity
  /** Whose memory `bytes` are; undefined: their own. */
  #page: RecordPage | undefined

  /** Throws `CORRUPTION`, with the key, unless the record is exactly what was written. */
  show(page: RecordPage, entry: number): void {
    const { view } = page
    const keyStart = page.keyStart(entry)
    const start = page.recordStart(entry)
    const end = page.recordEnd(entry)
    const valueStart = checkPlaced(page, keyStart, start, end)
    this.keyStart = keyStart
    this.keyLength = start - keyStart
    this.expiresAtMs = expiryAt(view, start)
    if (isCompressed(view, start)) {
      this.#showDecompressed(page, start, end)
      return
    }
    this.#page = page
    this.bytes = page.bytes
    this.view = view
    this.valueStart = valueStart
    this.valueLength = end - valueStart
  }

  /** The value, as bytes of the caller's own. */
  copyValue(): Uint8Array {
    const { valueStart, valueLength } = this
    return this.#page?.copy(valueStart, valueLength) ?? this.bytes.slice(valueStart, valueStart + valueLength)
  }

  /** Key and value in memory of their own, as a decompressed value is. */
  #showDecompressed(page: RecordPage, start: number, end: number): void {
    const key = page.bytes.slice(this.keyStart, start)
    const value = decompressedValue(page.bytes.subarray(start, end), end - start, key)
    this.#page = undefined
    this.bytes = new Uint8Array(key.length + value.length)
    this.bytes.set(key)
    this.bytes.set(value, key.length)
    this.view = new DataView(this.bytes.buffer)
    this.keyStart = 0
    this.valueStart = key.length
    this.valueLength = value.length
  }
}

/** Looks the keys of a run up in the store; `undefined`: a store that has none of them. */
export class LookupCursor implements Cursor {
  readonly #view: StoreView | undefined
  readonly #keys: RunCursor
  readonly #facts = new RecordFacts()

  constructor(view: StoreView | undefined, keys: SortedRun) {
    this.#view = view
    this.#keys = new RunCursor(keys, false)
  }

  get expiresAtMs(): number {
    return this.#facts.expiresAtMs
  }

  get key(): Uint8Array | undefined {
    return this.#keys.key
  }

  advance(): void {
    this.#keys.advance()
  }

  read(nowMs: number): Uint8Array | undefined {
    return this.#view?.read(this.#keys.key as Uint8Array, () => nowMs, this.#facts)
  }

  close(): void {
    this.#keys.close()
  }
}

import type { PlacedKey } from '../../backend/entry-block.js'
import { copyBytes } from '../../base/bytes.js'
import { reasonOf, StateError } from '../../base/errors.js'
import type { Slot, ViewedBytes } from '../../base/slot.js'
import { shortCrc32 } from '../../codec/short-crc32.js'
import { ValuePool } from '../../log/value-pool.js'
import {
  type Slot as DatabaseSlot,
  type Environment,
  KeyScratch,
  PlainCopies,
  type RangeOptions,
  type ReadTransaction,
  slotOf,
} from './environment.js'
import {
  AFTER_LAST_KEY,
  checkRecordIn,
  copyValueIn,
  ENTRY_PREFIX,
  EXPIRY_KEY_BYTES,
  keySum,
  recordExpiry,
  showValueIn,
} from './record.js'
import type { RecordPage } from './record-page.js'

/** An expiry index entry. */
export interface Deadline {
  readonly expiresAtMs: number
  readonly key: Uint8Array
}

const FIRST_KEY = Uint8Array.of(ENTRY_PREFIX)
const FIRST_DEADLINE = Uint8Array.of(0)
const AFTER_LAST_DEADLINE = new Uint8Array(EXPIRY_KEY_BYTES).fill(255)

/** What a read has found beside a value: the caller's, filled anew by each read that finds a record. */
export class RecordFacts {
  /** Infinity: never. */
  expiresAtMs: number = Infinity
  /** The checksum of the key. */
  sumOfKey = 0
}

/** One committed instant of the store. Shared by whoever reads it, and given up when the last one has released it. */
export class StoreView {
  readonly generation: number
  /** Records in it, expired ones included. */
  readonly entryCount: number
  readonly #slot: DatabaseSlot
  readonly #keys = new KeyScratch()
  readonly #copies = new PlainCopies()
  readonly #values = new ValuePool()
  readonly #transaction: ReadTransaction
  readonly #options: { readonly transaction: ReadTransaction }
  readonly #onReleased: () => void
  #users = 1
  #firstDeadlineMs: number | undefined

  constructor(
    environment: Environment,
    transaction: ReadTransaction,
    generation: number,
    entryCount: number | undefined,
    onReleased: () => void,
  ) {
    this.generation = generation
    this.#onReleased = onReleased
    this.#slot = slotOf(environment, generation)
    this.#transaction = transaction
    this.entryCount = entryCount ?? this.#slot.entries.getStats().entryCount
    // The package shares one read transaction until it is reset: this one is to be ours alone.
    environment.root.resetReadTxn()
    this.#options = { transaction: this.#transaction }
  }

  retain(): this {
    this.#users++
    return this
  }

  release(): void {
    if (--this.#users > 0) return
    this.#transaction.done()
    this.#onReleased()
  }

  /**
   * The value of a key, checked and copied; undefined where there is none or it has expired at `nowMs`. Tells `facts` of what is
   * there.
   */
  read(key: Uint8Array, nowMs: () => number, facts: RecordFacts): Uint8Array | undefined {
    const record = this.#checked(key, nowMs, facts)
    return record && copyValueIn(record, this.#slot.entries.lastSize, key, this.#values)
  }

  /** The same shown where it lies, in memory of the package's own, until the next read; false where there is none. */
  show(key: Uint8Array, nowMs: () => number, slot: Slot, facts: RecordFacts): boolean {
    const record = this.#checked(key, nowMs, facts)
    if (record === undefined) return false
    showValueIn(record.bytes, this.#slot.entries.lastSize, key, slot)
    return true
  }

  /** The same of a key where it lies, with others. */
  showPlaced(
    { bytes, view, keyStart, keyLength }: PlacedKey,
    nowMs: () => number,
    slot: Slot,
    facts: RecordFacts,
  ): boolean {
    const found = this.#find(bytes, keyStart, keyLength)
    if (found === undefined) return false
    const key = this.#keys.sought(keyLength)
    // Unsigned, as the library wants it, which sums what is long.
    const sum = shortCrc32(view, keyStart, keyLength) >>> 0
    const record = this.#checkFound(found, key, sum, nowMs, facts)
    if (record === undefined) return false
    showValueIn(record.bytes, this.#slot.entries.lastSize, key, slot)
    return true
  }

  /** The record of a key, checked, in memory of the package's own; undefined where it has expired, too. */
  #checked(key: Uint8Array, nowMs: () => number, facts: RecordFacts): ViewedBytes | undefined {
    const found = this.#find(key, 0, key.length)
    return found && this.#checkFound(found, key, keySum(key, 0, key.length), nowMs, facts)
  }

  /** The record that was just found under a key, checked; undefined where it has expired. */
  #checkFound(
    found: Buffer,
    key: Uint8Array,
    sumOfKey: number,
    nowMs: () => number,
    facts: RecordFacts,
  ): ViewedBytes | undefined {
    const record = this.#copies.viewed(found)
    facts.sumOfKey = sumOfKey
    checkRecordIn(record, this.#slot.entries.lastSize, key, sumOfKey)
    const expiresAtMs = recordExpiry(record.bytes)
    facts.expiresAtMs = expiresAtMs
    return expiresAtMs !== Infinity && expiresAtMs <= nowMs() ? undefined : record
  }

  /** When the record of a key expires (Infinity: never), by its header; -Infinity where there is none. */
  expiryOf(bytes: Uint8Array, start: number, length: number): number {
    const record = this.#find(bytes, start, length)
    return record === undefined ? -Infinity : recordExpiry(record)
  }

  /** A record, in memory of the package's own. */
  #find(bytes: Uint8Array, start: number, length: number): Buffer | undefined {
    try {
      return this.#slot.entries.getBinaryFast(this.#keys.entry(bytes, start, length), this.#options)
    } catch (error) {
      throw unreadable(error)
    }
  }

  /** When the first record expires; Infinity: none does. */
  get firstDeadlineMs(): number {
    this.#firstDeadlineMs ??= this.deadlines(FIRST_DEADLINE, Infinity, 1)[0]?.expiresAtMs ?? Infinity
    return this.#firstDeadlineMs
  }

  /** Index entries from `start` on (a key of the index) with a time of at most `untilMs`, at most `limit`. */
  deadlines(start: Uint8Array, untilMs: number, limit: number): Deadline[] {
    const end =
      untilMs === Infinity ? AFTER_LAST_DEADLINE : copyBytes(this.#keys.expiry(untilMs + 1, FIRST_KEY, 0, 0))
    const found: Deadline[] = []
    const range = { start, end, limit, transaction: this.#transaction }
    try {
      for (const bytes of this.#slot.expiry.getKeys(range)) {
        const expiresAtMs = bytes.readUInt32BE(0) * 2 ** 32 + bytes.readUInt32BE(4)
        found.push({ expiresAtMs, key: copyBytes(bytes.subarray(EXPIRY_KEY_BYTES)) })
      }
    } catch (error) {
      throw unreadable(error)
    }
    return found
  }

  /** All index entries with a time after `afterMs` (-1: any) and of at most `untilMs`, a page at a time. */
  *duePages(
    afterMs: number,
    untilMs: number,
    pageEntries: number,
  ): Generator<readonly Deadline[], void, undefined> {
    let start: Uint8Array = new KeyScratch().expiry(afterMs + 1, FIRST_KEY, 0, 0)
    for (;;) {
      const page = this.deadlines(start, untilMs, pageEntries)
      const last = page.at(-1)
      if (last === undefined) return
      yield page
      if (page.length < pageEntries) return
      // The smallest key above the last one.
      start = Uint8Array.of(...new KeyScratch().expiry(last.expiresAtMs, last.key, 0, last.key.length), 0)
    }
  }

  /** The keys of `[from, until)`, in order, a page at a time. */
  *keyPages(
    from: Uint8Array,
    until: Uint8Array | undefined,
    pageKeys: number,
  ): Generator<readonly Uint8Array[], void, undefined> {
    const scratch = new KeyScratch()
    const end = until === undefined ? AFTER_LAST_KEY : copyBytes(scratch.entry(until, 0, until.length))
    let start = copyBytes(scratch.entry(from, 0, from.length))
    for (;;) {
      let page: Uint8Array[]
      try {
        const range = { start, end, limit: pageKeys, transaction: this.#transaction }
        page = [...this.#slot.entries.getKeys(range)]
      } catch (error) {
        throw unreadable(error)
      }
      const last = page.at(-1)
      if (last === undefined) return
      yield page
      if (page.length < pageKeys) return
      // The smallest key above the last one.
      start = Uint8Array.of(...scratch.entry(last, 0, last.length), 0)
    }
  }

  /** A page to fill. */
  takePage(): RecordPage {
    return this.#slot.entries.pages.take()
  }

  /** Nobody uses the page any more. */
  giveBackPage(page: RecordPage): void {
    this.#slot.entries.pages.giveBack(page)
  }

  /**
   * Fills a page with keys and records of `[from, until)`, at most `limit`, in order; with `reverse` from the end of it. Returns whether there
   * may be more.
   */
  fill(
    page: RecordPage,
    from: Uint8Array,
    until: Uint8Array | undefined,
    reverse: boolean,
    limit: number,
  ): boolean {
    const low = copyBytes(this.#keys.entry(from, 0, from.length))
    const high = until === undefined ? AFTER_LAST_KEY : copyBytes(this.#keys.entry(until, 0, until.length))
    const transaction = this.#transaction
    const range: RangeOptions = reverse
      ? { start: high, exclusiveStart: true, end: low, inclusiveEnd: true, reverse, limit, transaction }
      : { start: low, end: high, limit, transaction }
    page.clear()
    try {
      this.#slot.entries.fill(page, range)
    } catch (error) {
      throw unreadable(error)
    }
    return page.isFull || page.count === limit
  }
}

/** LMDB has met pages that make no sense, or gives no more of a transaction in which it did. */
function unreadable(cause: unknown): StateError<'CORRUPTION'> {
  return new StateError('CORRUPTION', { what: 'store', reason: reasonOf(cause) }, { cause })
}

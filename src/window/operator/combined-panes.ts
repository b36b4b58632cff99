// What the panes of a window come to together, at the cost of a few merges for each key, however many panes a window has.
// (Two stacks, as in: Tangwongsan and others, "General Incremental Sliding-Window Aggregation", PVLDB 8, 2015.)
//
//   block  := the panes of one length of a window; time is a row of blocks
//   window := prefix of a block, or suffix of a block ⊕ prefix of the next one
//   prefix := ((pane ⊕ pane) ⊕ pane) …, which takes in each pane once
//   suffix := pane ⊕ (pane ⊕ (pane …)), made for all starts of windows in a block at once, from its last pane on
//
// (1) How panes are merged depends on their times alone: a job that was started again in between gives sums that are the same to the last bit.
// (2) What is earlier takes in what is later, never the other way round.
// (3) What was made of panes holds until an event comes late for a window that has fired: then all of it is let go of. The prefix is made anew;
//     the suffixes of that block are not, as the next window may have such an event before it, too: each makes its own until the next block.
// (4) Where keys come again from pane to pane and are not too many, the next panes begin with the keys of a block that is over (`keys`): each key is
//     then at the same place in all tables, and nothing is looked up where they are merged. Where a window has no other ones, its two tables
//     are merged as they are put out (shared-entries.ts).
// (5) Suffixes are kept where they take not much more memory than the panes, that is where keys come again from pane to pane. Where they
//     hardly do, none is made: a window has most of its keys from one pane anyway, and entries of fixed size are sorted by key and merged as
//     they are put out (entries-by-key.ts). In between each window makes its own suffix. All three merge in the same order.

import type { SlicedWork } from '../../base/slices.js'
import { copyViewed } from '../../base/slot.js'
import type { RawAggregate } from '../aggregate/raw-aggregate.js'
import { floorTo, type PanedAssigner, type TimeWindow } from '../assign/assigner.js'
import { sortedByKey } from '../due/key-order.js'
import { type Accumulator, HAS_VALUE } from './accumulator.js'
import { EntriesByKey } from './entries-by-key.js'
import { KeyTable, TableKey, TablePlace } from './key-table.js'
import { type MergedEntries, SharedEntries } from './shared-entries.js'

/** So many keys are merged in one step. */
const STEP_KEYS = 64
/** So many entries are looked at in one step. */
const STEP_LOOKS = 4_096
/** Windows of so few panes merge them one by one: anything else would take as many merges. */
const FEW_PANES = 4
/** Suffixes are kept where they have at most so many times the entries of their panes. */
const KEPT_SHARE = 2
/** Entries are sorted where there are at most so many for each key: that takes some 40 bytes for each of them while a window fires. */
const SORTED_SHARE = 4

/** So many keys are shared at most: a pane begins with a copy of them, in one step. */
const SHARED_KEYS = 4_096
/** Keys are shared as long as so large a part of those of a block are of use, and known. */
const SHARED_PART = 3 / 4

export interface CombinedPane extends TimeWindow {
  readonly table: KeyTable
  /** The end of the last window that it is in. */
  readonly lastEndMs: number
}

/** An accumulator that could not be merged with others of its key, which a table has. */
export class MergeFailure extends Error {
  override readonly name = 'MergeFailure'
  readonly table: KeyTable
  readonly entry: number

  constructor(table: KeyTable, entry: number, cause: unknown) {
    super('accumulators that could not be merged', { cause })
    this.table = table
    this.entry = entry
  }
}

export class CombinedPanes {
  readonly #windows: PanedAssigner
  readonly #accumulator: Accumulator
  readonly #areFew: boolean
  #prefix = new KeyTable()
  /** The start of its block, and up to where it has taken panes in. */
  #prefixFromMs = Number.NaN
  #prefixUntilMs = Number.NaN
  /** By the start of their first pane. */
  readonly #suffixes = new Map<number, KeyTable>()
  /** The end of their block. */
  #suffixesUntilMs = Number.NaN
  /** In place of suffixes of that block, entries are sorted. */
  #isSorted = false
  #isStale = false
  #keys: KeyTable | undefined
  /** The entries of these as they lie, and in the order of their keys. */
  #keysAsTheyLie: Uint32Array = new Uint32Array(0)
  #keysInOrder: Uint32Array = new Uint32Array(0)
  /** Tables to be used again. */
  readonly #spare: KeyTable[] = []
  /** What was given for the window at hand, where it is not kept. */
  #lent: KeyTable | undefined
  readonly #key = new TableKey()
  readonly #from = new TablePlace()
  readonly #into = new TablePlace()
  /** Of accumulators that have a fixed size. */
  readonly #byKey: EntriesByKey | undefined
  readonly #shared: SharedEntries | undefined
  /** An accumulator that gives its place to an earlier one. */
  readonly #moved = new KeyTable()
  #movedEntry: number

  constructor(windows: PanedAssigner, accumulator: Accumulator) {
    this.#windows = windows
    this.#accumulator = accumulator
    this.#areFew = windows.blockMs / windows.paneMs <= FEW_PANES
    this.#movedEntry = this.#moved.add(new TableKey().hashWritten(), accumulator.zeroBytes)
    const { raw, zeroBytes } = accumulator
    this.#byKey = raw === undefined ? undefined : new EntriesByKey(raw, zeroBytes)
    this.#shared = raw === undefined ? undefined : new SharedEntries(raw)
  }

  /** Keys that come again from pane to pane, with accumulators to which nothing was added: what a new pane is to begin with. */
  get keys(): KeyTable | undefined {
    return this.#keys
  }

  /** The entries of all shared keys in the order of their keys, of a table that has them; `undefined` of any other one. */
  sharedInOrder(table: KeyTable): Uint32Array | undefined {
    return this.#keys !== undefined && table.sharesWith(this.#keys) ? this.#keysInOrder : undefined
  }

  /** Something was added where a window has fired already: what is kept does not have it. */
  forget(): void {
    this.#isStale = true
  }

  /** What the panes of a window come to, to be read until `release`. Windows come in the order of their ends. */
  *of(window: TimeWindow, panes: readonly CombinedPane[]): SlicedWork<KeyTable | MergedEntries> {
    if (this.#areFew) return yield* this.#mergedInOrder(panes)
    if (this.#isStale) yield* this.#forgetAll()
    const { blockMs, blockOffsetMs } = this.#windows
    const blockStartMs = floorTo(window.endMs - 1, blockMs, blockOffsetMs)
    const split = panes.filter(({ startMs }) => startMs < blockStartMs).length
    const earlier = panes.slice(0, split)
    if (split > 0 && this.#suffixesUntilMs !== blockStartMs) yield* this.#keepSuffixes(earlier, blockStartMs)
    yield* this.#growPrefix(panes.slice(split), blockStartMs, window.endMs)
    if (split === 0) return this.#prefix
    const byKey = this.#byKey
    if (this.#isSorted && byKey !== undefined) {
      const tables = earlier.map(({ table }) => table)
      if (yield* byKey.sort(tables, this.#prefix)) return byKey
    }
    const table = yield* this.#suffixOf(window, earlier)
    this.#lent = table
    if (this.#shared !== undefined && this.#hasJustShared(table) && this.#hasJustShared(this.#prefix))
      return this.#shared.begin(this.#keysInOrder, table, this.#prefix)
    yield* this.mergeAll(table, this.#prefix)
    return table
  }

  *release(): SlicedWork<void> {
    const lent = this.#lent
    this.#lent = undefined
    if (lent !== undefined) yield* this.#giveBack(lent)
  }

  /** Whether all keys of a table are shared ones, each at its place. */
  #hasJustShared(table: KeyTable): boolean {
    const keys = this.#keys
    return keys !== undefined && table.sharesWith(keys) && table.count === this.#keysInOrder.length
  }

  /** Takes all entries of a later table in. The loops are no part of what goes on by steps: the compiler has less to do so. */
  *mergeAll(into: KeyTable, later: KeyTable): SlicedWork<void> {
    const { raw } = this.#accumulator
    if (raw !== undefined && this.#hasJustShared(into) && this.#hasJustShared(later)) {
      const { length } = this.#keysAsTheyLie
      for (let i = 0; i < length; i += STEP_KEYS) {
        this.#mergeShared(raw, into, later, i)
        yield
      }
      return
    }
    for (let entry = later.first(); entry !== 0; ) {
      entry = this.#mergeSome(into, later, entry)
      yield
    }
  }

  /** As many entries as one step takes in, from one on; returns the next one. */
  #mergeSome(into: KeyTable, later: KeyTable, first: number): number {
    const { raw } = this.#accumulator
    const key = this.#key
    let entry = first
    try {
      for (let count = 0; count < STEP_KEYS && entry !== 0; count++) {
        if (raw === undefined) this.mergeEntry(into, later.loadKey(entry, key), later, entry)
        else this.#mergeRaw(raw, into, later, entry)
        entry = later.next(entry)
      }
    } catch (error) {
      throw new MergeFailure(later, entry, error)
    }
    return entry
  }

  /** The same of tables that have the shared keys and no other ones: what is found in one is at the same place in the other. */
  #mergeShared(raw: RawAggregate<unknown, unknown>, table: KeyTable, later: KeyTable, first: number): void {
    const entries = this.#keysAsTheyLie
    const from = this.#from
    const into = this.#into
    const length = this.#accumulator.zeroBytes
    const until = Math.min(entries.length, first + STEP_KEYS)
    try {
      for (let i = first; i < until; i++) {
        later.show(entries[i] as number, from)
        const { entry, flagsAt, payloadAt } = from
        if (((from.words[flagsAt] as number) & HAS_VALUE) === 0) continue
        into.entry = entry
        table.showMemory(into)
        const flags = into.words[flagsAt] as number
        if ((flags & HAS_VALUE) !== 0) {
          raw.merge(into.view, payloadAt, from.view, payloadAt)
        } else {
          copyViewed(from, payloadAt, length, into, payloadAt)
          into.words[flagsAt] = flags | HAS_VALUE
        }
      }
    } catch (error) {
      throw new MergeFailure(later, from.entry, error)
    }
  }

  /** Takes an entry of a later table in, which has this key. */
  mergeEntry(into: KeyTable, key: TableKey, later: KeyTable, entry: number): void {
    let at = into.find(key)
    if (at === 0) at = into.add(key, later.accumulatorBytes(entry))
    this.#accumulator.merge(into, at, later, entry)
  }

  /** As `mergeEntry`, by places. */
  #mergeRaw(raw: RawAggregate<unknown, unknown>, table: KeyTable, later: KeyTable, entry: number): void {
    const from = this.#from
    const into = this.#into
    later.show(entry, from)
    if (((from.words[from.flagsAt] as number) & HAS_VALUE) === 0) return
    const length = this.#accumulator.zeroBytes
    this.#openLike(table, later, entry)
    const flags = into.words[into.flagsAt] as number
    if ((flags & HAS_VALUE) !== 0) {
      raw.merge(into.view, into.payloadAt, from.view, from.payloadAt)
      return
    }
    copyViewed(from, from.payloadAt, length, into, into.payloadAt)
    into.words[into.flagsAt] = flags | HAS_VALUE
  }

  /** Shows the entry of a key that another table has, or makes one. */
  #openLike(table: KeyTable, other: KeyTable, entry: number): void {
    const found = table.findOf(other, entry)
    const at = found === 0 ? table.add(other.loadKey(entry, this.#key), this.#accumulator.zeroBytes) : found
    table.show(at, this.#into)
  }

  *#mergedInOrder(panes: readonly CombinedPane[]): SlicedWork<KeyTable> {
    const table = this.#take()
    this.#lent = table
    for (const pane of panes) yield* this.mergeAll(table, pane.table)
    return table
  }

  /** Lets all entries of an earlier table take in what is there. */
  *#putInFront(table: KeyTable, earlier: KeyTable): SlicedWork<void> {
    const { raw } = this.#accumulator
    const key = this.#key
    let count = 0
    let entry = earlier.first()
    try {
      for (; entry !== 0; entry = earlier.next(entry)) {
        if (++count % STEP_KEYS === 0) yield
        if (raw === undefined) this.#putEntryInFront(table, earlier.loadKey(entry, key), earlier, entry)
        else this.#putRawInFront(raw, table, earlier, entry)
      }
    } catch (error) {
      throw new MergeFailure(earlier, entry, error)
    }
  }

  #putEntryInFront(table: KeyTable, key: TableKey, earlier: KeyTable, entry: number): void {
    if (!earlier.has(entry, HAS_VALUE)) return
    const accumulator = this.#accumulator
    const moved = this.#moved
    const at = table.find(key)
    if (at === 0) {
      accumulator.copy(table, table.add(key, earlier.accumulatorBytes(entry)), earlier, entry)
      return
    }
    this.#movedEntry = accumulator.copy(moved, this.#movedEntry, table, at)
    accumulator.merge(table, accumulator.copy(table, at, earlier, entry), moved, this.#movedEntry)
  }

  /** The same by places. */
  #putRawInFront(
    raw: RawAggregate<unknown, unknown>,
    table: KeyTable,
    earlier: KeyTable,
    entry: number,
  ): void {
    const from = this.#from
    const into = this.#into
    earlier.show(entry, from)
    if (((from.words[from.flagsAt] as number) & HAS_VALUE) === 0) return
    const length = this.#accumulator.zeroBytes
    this.#openLike(table, earlier, entry)
    const flags = into.words[into.flagsAt] as number
    const hasLater = (flags & HAS_VALUE) !== 0
    const later = this.#moved.memoryOf(this.#movedEntry)
    const laterAt = this.#moved.accumulatorAt(this.#movedEntry)
    if (hasLater) copyViewed(into, into.payloadAt, length, later, laterAt)
    copyViewed(from, from.payloadAt, length, into, into.payloadAt)
    if (hasLater) raw.merge(into.view, into.payloadAt, later.view, laterAt)
    else into.words[into.flagsAt] = flags | HAS_VALUE
  }

  *#growPrefix(panes: readonly CombinedPane[], blockStartMs: number, untilMs: number): SlicedWork<void> {
    if (this.#prefixFromMs !== blockStartMs) {
      yield* this.#prefix.clear()
      if (this.#keys !== undefined) yield* this.#prefix.copyFrom(this.#keys)
      this.#prefixFromMs = blockStartMs
      this.#prefixUntilMs = blockStartMs
    }
    for (const pane of panes) {
      if (pane.startMs < this.#prefixUntilMs) continue
      yield* this.mergeAll(this.#prefix, pane.table)
    }
    this.#prefixUntilMs = untilMs
  }

  /** Makes the suffixes of a block, of which these panes are left, where they are to be kept. */
  *#keepSuffixes(panes: readonly CombinedPane[], blockEndMs: number): SlicedWork<void> {
    yield* this.#dropSuffixes()
    this.#suffixesUntilMs = blockEndMs
    if (!(yield* this.#areKept(panes, blockEndMs))) return
    yield* this.#shareKeys()
    let suffix: KeyTable | undefined
    let isKept = false
    for (let i = panes.length - 1; i >= 0; i--) {
      const pane = panes[i] as CombinedPane
      const before = panes[i - 1]
      const longer = this.#take()
      yield* longer.copyFrom(pane.table)
      if (suffix !== undefined) {
        yield* this.mergeAll(longer, suffix)
        if (!isKept) yield* this.#giveBack(suffix)
      }
      suffix = longer
      // Where a window starts between the pane before and this one.
      isKept = before === undefined || before.startMs < this.#windows.startOf(pane.lastEndMs)
      if (isKept) this.#suffixes.set(pane.startMs, suffix)
    }
    this.#spare.length = 0
  }

  /** Whether suffixes of a block are kept; otherwise, whether they are left out altogether. Accumulators that grow are not looked at. */
  *#areKept(panes: readonly CombinedPane[], blockEndMs: number): SlicedWork<boolean> {
    this.#isSorted = false
    const isWhole =
      this.#prefixFromMs === blockEndMs - this.#windows.blockMs && this.#prefixUntilMs === blockEndMs
    if (!isWhole || this.#accumulator.codec.fixedBytes === undefined) return false
    const count = yield* valuesIn(this.#prefix)
    let entries = 0
    for (const { table } of panes) entries += yield* valuesIn(table)
    if (count * panes.length <= entries * KEPT_SHARE) return true
    this.#keys = undefined
    this.#isSorted = entries <= count * SORTED_SHARE
    return false
  }

  /** Makes the keys of the block that the prefix has known to the panes that begin from now on. */
  *#shareKeys(): SlicedWork<void> {
    const prefix = this.#prefix
    const used = yield* valuesIn(prefix)
    const isFixed = this.#accumulator.raw !== undefined
    if (!isFixed || used > SHARED_KEYS) {
      this.#keys = undefined
      return
    }
    const known = this.#keys?.count ?? 0
    if (Math.min(used, known) >= prefix.count * SHARED_PART) return
    const keys = new KeyTable()
    let looked = 0
    for (let entry = prefix.first(); entry !== 0; entry = prefix.next(entry)) {
      if (++looked % STEP_KEYS === 0) yield
      if (prefix.has(entry, HAS_VALUE))
        keys.add(prefix.loadKey(entry, this.#key), this.#accumulator.zeroBytes)
    }
    keys.shareKeys()
    const entries = new Uint32Array(keys.count)
    let count = 0
    for (let entry = keys.first(); entry !== 0; entry = keys.next(entry)) entries[count++] = entry
    this.#keysAsTheyLie = entries.slice()
    this.#keysInOrder = yield* sortedByKey(keys, entries)
    this.#keys = keys
  }

  /** What is of a window before the block that it ends in: a table to be changed. */
  *#suffixOf({ startMs }: TimeWindow, panes: readonly CombinedPane[]): SlicedWork<KeyTable> {
    const [first] = panes
    const kept = first === undefined ? undefined : this.#suffixes.get(first.startMs)
    if (first === undefined || kept === undefined) {
      const table = this.#take()
      this.#lent = table
      for (let i = panes.length - 1; i >= 0; i--) {
        yield* this.#putInFront(table, (panes[i] as CombinedPane).table)
      }
      return table
    }
    if (startMs === this.#windows.startOf(first.lastEndMs)) {
      this.#suffixes.delete(first.startMs)
      return kept
    }
    // Another window begins with the same pane.
    const table = this.#take()
    this.#lent = table
    yield* this.mergeAll(table, kept)
    return table
  }

  *#forgetAll(): SlicedWork<void> {
    this.#isStale = false
    this.#prefixFromMs = Number.NaN
    yield* this.#dropSuffixes()
  }

  *#dropSuffixes(): SlicedWork<void> {
    for (const [startMs, table] of this.#suffixes) {
      this.#suffixes.delete(startMs)
      yield* this.#giveBack(table)
    }
  }

  #take(): KeyTable {
    return this.#spare.pop() ?? new KeyTable()
  }

  *#giveBack(table: KeyTable): SlicedWork<void> {
    yield* table.clear()
    this.#spare.push(table)
  }
}

/** How many keys of a table have something. */
function* valuesIn(table: KeyTable): SlicedWork<number> {
  if (!table.sharesKeys) return table.count
  let count = 0
  let looked = 0
  for (let entry = table.first(); entry !== 0; entry = table.next(entry)) {
    if (++looked % STEP_LOOKS === 0) yield
    if (table.has(entry, HAS_VALUE)) count++
  }
  return count
}

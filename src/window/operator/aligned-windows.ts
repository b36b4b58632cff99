// Windows that are the same for all keys, of which each fires once: an event changes one pane, however many windows it is in, and a
// window that closes merges its panes (combined-panes.ts). A table for each pane is walked when it closes and dropped as a whole.
// aligned-panes.ts has the panes, stored-panes.ts how they lie in the state.
//
// (1) Cuts are made between two advances: all windows that end up to the watermark of a cut have fired in it, and no other one has. So panes of
//     such windows alone that lie in the store have fired, whoever has not removed them yet.

import { present } from '../../base/assert.js'
import { runThrough, type SlicedWork } from '../../base/slices.js'
import { copyViewed, Slot } from '../../base/slot.js'
import { ByteReader, ByteWriter } from '../../state/codec/bytes.js'
import { CodecError } from '../../state/codec/codec-error.js'
import { type KeyLike, plainKey } from '../../state/key/stored-key.js'
import type { StateDefinition } from '../../state/kinds/definitions.js'
import type { StateContext } from '../../state/kinds/state-context.js'
import { openStateOf } from '../../state/store.js'
import { isPaned, type TimeWindow, type WindowAssigner } from '../assign/assigner.js'
import type { Pane as WindowPane } from '../windowed.js'
import { Accumulator, HAS_VALUE } from './accumulator.js'
import { AlignedPanes, type Pane } from './aligned-panes.js'
import { CombinedPanes, MergeFailure } from './combined-panes.js'
import { entriesInOrder } from './entries-in-order.js'
import { EventKey } from './event-key.js'
import { FiringFailure } from './firing-failure.js'
import { IS_DIRTY, KeyTable, NEAR_KEYS, TableKey, TablePlace } from './key-table.js'
import { RecentNumbers } from './recent-numbers.js'
import type { MergedEntries } from './shared-entries.js'
import { isStorable, PANE_BYTES, panesState, StoredPanes } from './stored-panes.js'
import {
  type AnyResult,
  type ErasedAggregate,
  type ErasedWindows,
  kindOf,
  type LateFigures,
  type WindowOperator,
  type WindowOperatorOptions,
  WindowOutput,
} from './window-operator.js'

/** So many results are put out in one step. */
const STEP_KEYS = 64

/** Whether every event is in windows by its time alone, and each window fires once. */
export function isAligned({
  windows,
  aggregate,
  events,
  allowedLatenessMs = 0,
  early,
}: ErasedWindows): boolean {
  if ('kind' in windows || events !== undefined || early !== undefined || allowedLatenessMs > 0) return false
  return isSingle(windows) || aggregate?.merge !== undefined
}

/** Whether no two windows overlap. */
const isSingle = (windows: WindowAssigner): boolean => !isPaned(windows) || windows.isTumbling

export function alignedStates(
  name: string,
  { windows, aggregate }: ErasedWindows,
): { [name: string]: StateDefinition } {
  const { codec, kind } = aggregate as ErasedAggregate
  const description = { windows: `panes of ${windows.description}`, ...kindOf(kind) }
  return { [name]: panesState(codec, description) }
}

export class AlignedWindows implements WindowOperator {
  readonly nextProcessingMs: number = Infinity
  readonly #windows: WindowAssigner
  readonly #output: WindowOutput
  readonly #context: StateContext<unknown>
  readonly #accumulator: Accumulator
  readonly #panes: AlignedPanes
  readonly #stored: StoredPanes
  /** The pane of the last event, and the one of those before: where a pane ends, events of both come by turns. */
  #pane: Pane | undefined
  #otherPane: Pane | undefined
  /** Windows that end up to here have fired. */
  #firedEndMs = -Infinity
  readonly #key = new TableKey()
  readonly #eventKey: EventKey
  readonly #place = new TablePlace()
  /** Keys that new panes begin with, and the number of these. */
  #keys: KeyTable | undefined
  #keysNumber = 0
  /** Entries by number, where accumulators have a fixed size and so stay where they are. */
  readonly #recent: RecentNumbers | undefined
  /** What the panes of a window come to, where a window has several. */
  readonly #combined: CombinedPanes | undefined
  /** What the last event was added to, and how that was before. */
  #last: Pane | undefined
  #lastEntry = 0
  #lastHadValue = false
  readonly #before = new ByteWriter()
  readonly #beforeWords: Int32Array
  readonly #reader = new ByteReader()
  readonly #shownKey = new Slot()

  constructor(options: WindowOperatorOptions) {
    const { windows, aggregate } = options.definition
    this.#windows = windows as WindowAssigner
    this.#output = new WindowOutput(options)
    const state = openStateOf(options.store, options.name)
    this.#context = state.context
    this.#eventKey = new EventKey(this.#context, this.#key, PANE_BYTES)
    this.#accumulator = new Accumulator(aggregate as unknown as ErasedAggregate, state.entries.maxValueBytes)
    this.#panes = new AlignedPanes(this.#windows)
    this.#stored = new StoredPanes(state, this.#accumulator, this.#panes)
    const { raw, zeroBytes } = this.#accumulator
    this.#combined = isPaned(this.#windows) ? new CombinedPanes(this.#windows, this.#accumulator) : undefined
    this.#recent = raw === undefined ? undefined : new RecentNumbers()
    this.#beforeWords = new Int32Array((zeroBytes + 3) >> 2)
  }

  get late(): LateFigures {
    return this.#output.late
  }

  get open(): number {
    return this.#panes.keys
  }

  get isFar(): boolean {
    return this.#pane?.table.isFar === true
  }

  ahead(keys: readonly unknown[], count: number): void {
    // Where the next events are of another pane, it is in vain.
    if (this.#pane !== undefined) this.#eventKey.ahead(keys, count, this.#pane.table)
  }

  add(key: KeyLike<unknown>, event: unknown, timestampMs: number, watermarkMs: number): void {
    this.#output.begin()
    this.#last = undefined
    let pane = this.#pane
    if (pane === undefined || timestampMs < pane.startMs || timestampMs >= pane.endMs) {
      pane = this.#turnTo(timestampMs, watermarkMs, key)
      if (pane === undefined) return
    }
    if (watermarkMs >= pane.lastEndMs - 1) {
      this.#onMissed(event, timestampMs, watermarkMs)
      return
    }
    const { table } = pane
    const place = this.#place
    if (!pane.isKept) this.#beginWithKeys(pane)
    this.#open(pane, key)
    if (!pane.isKept) this.#keep(pane)
    pane.isDirty = true
    const { words, flagsAt } = place
    const flags = words[flagsAt] as number
    this.#lastHadValue = (flags & HAS_VALUE) !== 0
    this.#lastEntry = this.#addTo(table, key, event, timestampMs)
    // An accumulator that has outgrown its place has taken its flags with it.
    if (this.#lastEntry === place.entry) words[flagsAt] = flags | IS_DIRTY | HAS_VALUE
    else table.set(this.#lastEntry, IS_DIRTY, true)
    if (!this.#lastHadValue) pane.keys++
    this.#last = pane
    if (watermarkMs >= pane.firstEndMs - 1) this.#onPartlyMissed(event, timestampMs, watermarkMs)
  }

  /** Finds the entry of a key, or makes one. */
  #open(pane: Pane, key: KeyLike<unknown>): void {
    const { table, number, keysNumber } = pane
    const place = this.#place
    const recent = this.#recent
    // Zero is left out: there are two of it, which a codec of the user's may write in two ways.
    const whole = typeof key === 'number' ? key | 0 : 0
    if (recent === undefined || whole === 0 || whole !== key || table.count > RecentNumbers.keys) {
      table.open(this.#eventKey.set(key), this.#accumulator.zeroBytes, place)
      return
    }
    if (
      !recent.find(whole, keysNumber, place) &&
      (keysNumber === number || !recent.find(whole, number, place))
    ) {
      table.open(this.#eventKey.set(key), this.#accumulator.zeroBytes, place)
      recent.set(whole, table.isShared(place.entry) ? keysNumber : number, place)
      return
    }
    table.showMemory(place)
  }

  /** A table in which there is nothing yet begins with keys that come again. */
  #beginWithKeys(pane: Pane): void {
    const keys = this.#combined?.keys
    if (keys === undefined || pane.table.count > 0) return
    if (keys !== this.#keys) {
      this.#keys = keys
      this.#keysNumber = this.#panes.nextNumber()
    }
    pane.keysNumber = this.#keysNumber
    runThrough(pane.table.copyFrom(keys))
  }

  revert(): void {
    this.#output.revert()
    const pane = this.#last
    if (pane === undefined) return
    const { table } = pane
    const { length } = this.#before
    let entry = this.#lastEntry
    if (this.#accumulator.raw !== undefined) {
      table.show(entry, this.#place)
      this.#putBack(this.#place)
    } else if (this.#accumulator.undoes) {
      entry = this.#accumulator.undoAdd(table, entry)
    } else {
      entry = table.resizeAccumulator(entry, length)
      copyViewed(this.#before, 0, length, table.memoryOf(entry), table.accumulatorAt(entry))
    }
    table.set(entry, HAS_VALUE, this.#lastHadValue)
    if (!this.#lastHadValue) pane.keys--
    this.#last = undefined
  }

  *advance(watermarkMs: number): SlicedWork<void> {
    for (;;) {
      const endMs = this.#panes.nextEndMs(this.#firedEndMs)
      if (endMs === Infinity || endMs - 1 > watermarkMs) break
      yield* this.#fire(endMs)
      this.#firedEndMs = endMs
      yield* this.#drop()
      // Windows of few keys may be many.
      yield
    }
    if (watermarkMs + 1 > this.#firedEndMs) this.#firedEndMs = watermarkMs + 1
  }

  *onProcessingTime(): SlicedWork<void> {}

  get nextDueMs(): number {
    return this.#panes.nextEndMs(this.#firedEndMs) - 1
  }

  peek(key: KeyLike<unknown>): AnyResult[] {
    this.#accumulator.checkShowable()
    const tableKey = this.#eventKey.set(key)
    try {
      return this.#shown(key, tableKey)
    } catch (error) {
      throw this.#context.failure('read', error, key)
    }
  }

  #shown(key: KeyLike<unknown>, tableKey: TableKey): AnyResult[] {
    const results: AnyResult[] = []
    let afterMs = this.#firedEndMs
    for (;;) {
      let endMs = Infinity
      for (const pane of this.#panes.all()) {
        if (pane.table.find(tableKey) !== 0) endMs = Math.min(endMs, this.#panes.nextEndOf(pane, afterMs))
      }
      if (endMs === Infinity) return results
      const window = this.#panes.windowTo(endMs)
      const merged = new KeyTable()
      for (const { table } of this.#panes.in(window)) {
        const entry = table.find(tableKey)
        if (entry === 0) continue
        if (this.#combined !== undefined) this.#combined.mergeEntry(merged, tableKey, table, entry)
        else this.#accumulator.copy(merged, merged.add(tableKey, table.accumulatorBytes(entry)), table, entry)
      }
      afterMs = endMs
      const entry = merged.first()
      if (entry === 0 || !merged.has(entry, HAS_VALUE)) continue
      const value = this.#accumulator.result(merged, entry)
      results.push({ key: plainKey(key), window, value, timestampMs: endMs - 1, pane: EARLY })
    }
  }

  *flush(staysUntilMs: number = -Infinity): SlicedWork<void> {
    yield* this.#stored.flush(staysUntilMs)
  }

  *restore(watermarkMs: number): SlicedWork<void> {
    this.#firedEndMs = watermarkMs + 1
    yield* this.#stored.restore()
    // What had fired, and was to be removed later.
    yield* this.#drop()
  }

  /** Adds to the accumulator at the place that was opened, or leaves everything as it was; returns its entry. */
  #addTo(table: KeyTable, key: KeyLike<unknown>, event: unknown, timestampMs: number): number {
    const accumulator = this.#accumulator
    const { raw } = accumulator
    const { entry, view, payloadAt } = this.#place
    if (raw !== undefined) {
      this.#keepBefore(this.#place)
      accumulator.isAdding = true
      try {
        raw.add(view, payloadAt, event, timestampMs, !this.#lastHadValue)
        return entry
      } catch (error) {
        this.#putBack(this.#place)
        throw this.#context.failure('write', error, key)
      } finally {
        accumulator.isAdding = false
      }
    }
    if (accumulator.undoes) {
      accumulator.isAdding = true
      try {
        return accumulator.add(table, entry, event, timestampMs)
      } catch (error) {
        throw this.#context.failure('write', error, key)
      } finally {
        accumulator.isAdding = false
      }
    }
    const before = this.#before
    const length = table.accumulatorBytes(entry)
    before.length = 0
    before.reserve(length)
    copyViewed(this.#place, payloadAt, length, before, 0)
    accumulator.isAdding = true
    try {
      return accumulator.add(table, entry, event, timestampMs)
    } catch (error) {
      copyViewed(before, 0, length, this.#place, payloadAt)
      throw this.#context.failure('write', error, key)
    } finally {
      accumulator.isAdding = false
    }
  }

  /** What a fixed accumulator is before an event is added, by words: it begins at one, and has whole ones for itself. */
  #keepBefore({ words, payloadAt }: TablePlace): void {
    const before = this.#beforeWords
    const from = payloadAt >> 2
    for (let i = 0; i < before.length; i++) before[i] = words[from + i] as number
  }

  #putBack({ words, payloadAt }: TablePlace): void {
    const before = this.#beforeWords
    const from = payloadAt >> 2
    for (let i = 0; i < before.length; i++) words[from + i] = before[i] as number
  }

  #onMissed(event: unknown, timestampMs: number, watermarkMs: number): void {
    const windows = this.#windows.windowsOf(timestampMs)
    const missed = windows.filter(({ endMs }) => watermarkMs >= endMs - 1)
    this.#output.missed(event, { timestampMs, watermarkMs }, missed, missed.length === windows.length)
  }

  /** It has entered some windows, and missed others. Told of last: an event that is refused is not late as well. */
  #onPartlyMissed(event: unknown, timestampMs: number, watermarkMs: number): void {
    this.#combined?.forget()
    try {
      this.#onMissed(event, timestampMs, watermarkMs)
    } catch (error) {
      this.revert()
      throw error
    }
  }

  /** The pane of an event that is not in that of the last one. */
  #turnTo(timestampMs: number, watermarkMs: number, key: KeyLike<unknown>): Pane | undefined {
    let pane = this.#otherPane
    if (pane === undefined || timestampMs < pane.startMs || timestampMs >= pane.endMs) {
      try {
        pane = this.#panes.of(timestampMs)
      } catch (error) {
        throw this.#context.failure('write', error, key)
      }
      if (pane === undefined) return undefined
      if (!isStorable(pane) && watermarkMs < pane.lastEndMs - 1) {
        const error = new CodecError(`the timestamp ${timestampMs} is too near to the ends of time`)
        throw this.#context.failure('write', error, key)
      }
      if (!pane.isKept) return pane
    }
    this.#otherPane = this.#pane
    this.#pane = pane
    return pane
  }

  #keep(pane: Pane): void {
    this.#panes.keep(pane)
    this.#otherPane = this.#pane
    this.#pane = pane
  }

  *#fire(endMs: number): SlicedWork<void> {
    const window = this.#panes.windowTo(endMs)
    const panes = this.#panes.in(window)
    const [first] = panes
    if (first === undefined) return
    if (panes.length === 1) {
      yield* this.#putOut(first.table, window)
      return
    }
    const combined = present(this.#combined, 'windows that share panes')
    const found = yield* this.#combine(combined, window, panes)
    if (found instanceof KeyTable) yield* this.#putOut(found, window)
    else yield* this.#putOutMerged(found, window)
    yield* combined.release()
  }

  *#combine(
    combined: CombinedPanes,
    window: TimeWindow,
    panes: readonly Pane[],
  ): SlicedWork<KeyTable | MergedEntries> {
    try {
      return yield* combined.of(window, panes)
    } catch (error) {
      if (!(error instanceof MergeFailure)) throw error
      throw FiringFailure.of(error.cause, window, () => this.#keyOf(error.table, error.entry))
    }
  }

  /** The results of a window, in the order of their keys. */
  *#putOut(table: KeyTable, window: TimeWindow): SlicedWork<void> {
    const sorted = yield* entriesInOrder(table, this.#combined?.sharedInOrder(table))
    for (let i = 0; i < sorted.length; ) {
      i = this.#putOutSome(table, sorted, i, window)
      if (this.#output.isWaiting) yield* this.#output.rest()
      yield
    }
  }

  /**
   * The results of as many entries as one step has, up to one of which outputs wait; returns where the next one is. The loop is no part of what
   * goes on by steps: the compiler has less to do where it need not know of these.
   */
  #putOutSome(table: KeyTable, sorted: Uint32Array, from: number, window: TimeWindow): number {
    const output = this.#output
    const timestampMs = window.endMs - 1
    const until = Math.min(sorted.length, from + STEP_KEYS)
    const { isFar } = table
    let i = from
    try {
      for (; i < until; i++) {
        if (isFar && (i - from) % NEAR_KEYS === 0)
          table.bringEntriesNear(sorted, i, Math.min(until, i + NEAR_KEYS))
        const entry = sorted[i] as number
        const key = this.#keyOf(table, entry)
        const value = this.#accumulator.result(table, entry)
        output.resultInSteps({ key, window, value, timestampMs, pane: ON_TIME })
        if (output.isWaiting) return i + 1
      }
    } catch (error) {
      throw FiringFailure.of(error, window, () => this.#keyOf(table, sorted[i] as number))
    }
    return until
  }

  /** The same of entries that are merged on the way. */
  *#putOutMerged(entries: MergedEntries, window: TimeWindow): SlicedWork<void> {
    const read = (table: KeyTable, entry: number) => this.#keyOf(table, entry)
    while (this.#putOutNext(entries, window, read)) {
      if (this.#output.isWaiting) yield* this.#output.rest()
      yield
    }
  }

  /** As `#putOutSome`; false behind the last entry. */
  #putOutNext(
    entries: MergedEntries,
    window: TimeWindow,
    read: (table: KeyTable, entry: number) => unknown,
  ): boolean {
    const { raw } = this.#accumulator
    const output = this.#output
    const timestampMs = window.endMs - 1
    try {
      for (let count = 0; count < STEP_KEYS; count++) {
        if (!entries.next()) return false
        const key = entries.key(read)
        const value = raw?.result(entries.view, entries.payloadAt)
        output.resultInSteps({ key, window, value, timestampMs, pane: ON_TIME })
        if (output.isWaiting) return true
      }
    } catch (error) {
      throw FiringFailure.of(error, window, () => entries.key(read))
    }
    return true
  }

  /** Panes that are in no window any more. */
  *#drop(): SlicedWork<void> {
    const panes = this.#panes
    for (;;) {
      const pane = panes.takeEnded(this.#firedEndMs)
      if (pane === undefined) return
      if (this.#pane === pane) this.#pane = undefined
      if (this.#otherPane === pane) this.#otherPane = undefined
      if (pane.isStored) {
        this.#stored.drop(pane)
      } else if (panes.wantsSpare) {
        yield* pane.table.clear()
        panes.spare = pane.table
      }
    }
  }

  #keyOf(table: KeyTable, entry: number): unknown {
    const reader = this.#reader.fromSlot(table.keyOf(entry, this.#shownKey))
    return this.#context.readKey(reader, this.#context.keyCodec, 'whole')
  }
}

const ON_TIME: WindowPane = Object.freeze({ index: 0, kind: 'onTime', isFinal: true })
const EARLY: WindowPane = Object.freeze({ index: 0, kind: 'early', isFinal: false })

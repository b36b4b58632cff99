// Windows that are the same for all keys, of which each fires once: an event changes one pane, however many windows it is in, and a
// window that closes merges its panes (combined-panes.ts). A table for each pane is walked when it closes and dropped as a whole.
//
//   state := map of [end int64, start int64] of the pane to the accumulator
//
// (1) Cuts are made between two advances: all windows that end up to the watermark of a cut have fired in it, and no other one has. So panes of
//     such windows alone that lie in the store have fired, whoever has not removed them yet.

import { present } from '../../base/assert.js'
import { runThrough, type SlicedWork } from '../../base/slices.js'
import { copyViewed, Slot } from '../../base/slot.js'
import { ByteReader, ByteWriter } from '../../state/codec/bytes.js'
import type { Codec, KeyCodec } from '../../state/codec/codec.js'
import { CodecError } from '../../state/codec/codec-error.js'
import { tuple } from '../../state/codec/composite.js'
import { int64 } from '../../state/codec/numbers.js'
import { unsortedEntries } from '../../state/entries/stored-entries.js'
import { keyGroupOf } from '../../state/key/key-group.js'
import { type KeyLike, PREFIX_BYTES, plainKey } from '../../state/key/stored-key.js'
import { map, type StateDefinition } from '../../state/kinds/definitions.js'
import type { StateContext } from '../../state/kinds/state-context.js'
import type { OpenState } from '../../state/open-state.js'
import { openStateOf } from '../../state/store.js'
import { floorTo, isPaned, type TimeWindow, type WindowAssigner } from '../assign/assigner.js'
import type { Pane as WindowPane } from '../windowed.js'
import { Accumulator, HAS_VALUE } from './accumulator.js'
import { type CombinedPane, CombinedPanes, MergeFailure } from './combined-panes.js'
import { entriesInOrder } from './entries-in-order.js'
import { EventKey } from './event-key.js'
import { FiringFailure } from './firing-failure.js'
import { IS_DIRTY, IS_STORED, KeyTable, NEAR_KEYS, TableKey, TablePlace } from './key-table.js'
import { RecentNumbers } from './recent-numbers.js'
import type { MergedEntries } from './shared-entries.js'
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

/** So many keys are worked on in one step, or only looked at. */
const STEP_KEYS = 64
const STEP_LOOKS = 4_096
/** Bytes behind the key in a stored key. */
const PANE_BYTES = 16

const paneKey = tuple(int64, int64) as unknown as KeyCodec<readonly number[]>

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
  return { [name]: map(tuple(int64, int64), paneCodec(codec, description)) }
}

/** What is kept of a stretch of time: for each key an accumulator. */
class Pane implements CombinedPane {
  /** None has the same one for a long time. */
  readonly number: number
  readonly startMs: number
  readonly endMs: number
  /** The ends of the first and of the last window that it is in. */
  readonly firstEndMs: number
  readonly lastEndMs: number
  readonly table: KeyTable
  /** That of the keys that its table has in common with those of other panes. */
  keysNumber: number
  /** Something was added to it. */
  isKept = false
  /** How many keys have something in it. */
  keys = 0
  /** The store has something of it. */
  isStored = false
  isDirty = false

  constructor(
    number: number,
    { startMs, endMs }: TimeWindow,
    firstEndMs: number,
    lastEndMs: number,
    table: KeyTable,
  ) {
    this.number = number
    this.keysNumber = number
    this.startMs = startMs
    this.endMs = endMs
    this.firstEndMs = firstEndMs
    this.lastEndMs = lastEndMs
    this.table = table
  }
}

export class AlignedWindows implements WindowOperator {
  readonly nextProcessingMs: number = Infinity
  readonly #windows: WindowAssigner
  readonly #output: WindowOutput
  readonly #state: OpenState
  readonly #context: StateContext<unknown>
  readonly #accumulator: Accumulator
  readonly #panes = new Map<number, Pane>()
  /** The same in the order of their starts: that of the first one is the window that ends next. */
  readonly #inOrder: Pane[] = []
  /** The pane of the last event, and the one of those before: where a pane ends, events of both come by turns. */
  #pane: Pane | undefined
  #otherPane: Pane | undefined
  /** Panes that are dropped and of which the store has something. */
  readonly #dropped: Pane[] = []
  /** A table that was dropped, to be used again. */
  #spare: KeyTable | undefined
  /** Windows that end up to here have fired. */
  #firedEndMs = -Infinity
  readonly #key = new TableKey()
  readonly #eventKey: EventKey
  readonly #place = new TablePlace()
  #lastNumber = 0
  /** Keys that new panes begin with, and the number of these. */
  #keys: KeyTable | undefined
  #keysNumber = 0
  /** Entries by number, where accumulators have a fixed size and so stay where they are. */
  readonly #recent: RecentNumbers | undefined
  /** What the panes of a window come to, where a window has several. */
  readonly #combined: CombinedPanes | undefined
  readonly #value = new ByteWriter()
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
    this.#state = openStateOf(options.store, options.name)
    this.#context = this.#state.context
    this.#eventKey = new EventKey(this.#context, this.#key, PANE_BYTES)
    this.#accumulator = new Accumulator(
      aggregate as unknown as ErasedAggregate,
      this.#state.entries.maxValueBytes,
    )
    const { raw, zeroBytes } = this.#accumulator
    this.#combined = isPaned(this.#windows) ? new CombinedPanes(this.#windows, this.#accumulator) : undefined
    this.#recent = raw === undefined ? undefined : new RecentNumbers()
    this.#beforeWords = new Int32Array((zeroBytes + 3) >> 2)
  }

  get late(): LateFigures {
    return this.#output.late
  }

  get open(): number {
    let open = 0
    for (const { keys } of this.#inOrder) open += keys
    return open
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
      this.#keysNumber = this.#nextNumber()
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
      const [earliest] = this.#inOrder
      const endMs = earliest === undefined ? Infinity : this.#nextEndMs(earliest, this.#firedEndMs)
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
    const [earliest] = this.#inOrder
    return earliest === undefined ? Infinity : this.#nextEndMs(earliest, this.#firedEndMs) - 1
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
      for (const pane of this.#panes.values()) {
        if (pane.table.find(tableKey) !== 0) endMs = Math.min(endMs, this.#nextEndMs(pane, afterMs))
      }
      if (endMs === Infinity) return results
      const window = { startMs: this.#startOf(endMs), endMs }
      const merged = new KeyTable()
      for (const { table } of this.#panesIn(window)) {
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
    let count = 0
    let looked = 0
    const dropped = this.#dropped
    const first = dropped.findIndex(({ lastEndMs }) => lastEndMs - 1 > staysUntilMs)
    const from = first === -1 ? dropped.length : first
    // What is noted as written was: where a call fails, the next cut writes what is left.
    for (let pane = dropped[from]; pane !== undefined; pane = dropped[from]) {
      for (let entry = pane.table.first(); entry !== 0; entry = pane.table.next(entry)) {
        if (++looked % STEP_LOOKS === 0) yield
        if (!pane.table.has(entry, IS_STORED)) continue
        this.#state.entries.remove(this.#locate(pane, entry))
        pane.table.set(entry, IS_STORED, false)
        if (++count % STEP_KEYS === 0) yield
      }
      dropped.splice(from, 1)
    }
    for (const pane of this.#panes.values()) {
      if (!pane.isDirty) continue
      const { table } = pane
      for (let entry = table.first(); entry !== 0; entry = table.next(entry)) {
        if (++looked % STEP_LOOKS === 0) yield
        if (!table.has(entry, IS_DIRTY) || !table.has(entry, HAS_VALUE)) continue
        this.#store(pane, entry)
        if (++count % STEP_KEYS === 0) yield
      }
      pane.isDirty = false
    }
  }

  *restore(watermarkMs: number): SlicedWork<void> {
    this.#firedEndMs = watermarkMs + 1
    const { entries, context } = this.#state
    yield* unsortedEntries(context, entries, (storedKey, bytes) => {
      const pane = this.#storedPane(storedKey)
      const { table } = pane
      this.#key.set(storedKey, PREFIX_BYTES, storedKey.length - PANE_BYTES - PREFIX_BYTES)
      const entry = table.add(this.#key, bytes.length)
      table.memoryOf(entry).bytes.set(bytes, table.accumulatorAt(entry))
      table.set(entry, IS_STORED, true)
      table.set(entry, HAS_VALUE, true)
      pane.keys++
      try {
        this.#accumulator.check(table, entry)
      } catch (error) {
        throw context.failureAt('read', error, storedKey, paneKey)
      }
    })
    // What had fired, and was to be removed later.
    yield* this.#drop()
  }

  /** The pane that a stored key is of. What is of a pane that was found before is not decoded; whatever is wrong with its key its result says. */
  #storedPane(storedKey: Uint8Array): Pane {
    const paneAt = storedKey.length - PANE_BYTES
    if (paneAt > PREFIX_BYTES) {
      const known = this.#panes.get(int64KeyAt(storedKey, paneAt + 8))
      if (known?.isStored === true && known.endMs === int64KeyAt(storedKey, paneAt)) return known
    }
    const { context } = this.#state
    const reader = new ByteReader().fromBytes(storedKey, PREFIX_BYTES)
    context.readKey(reader, context.keyCodec, 'head')
    const [, startMs] = context.readKey(reader, paneKey, 'whole') as [number, number]
    const pane = present(this.#paneOf(startMs), 'the pane of what is stored')
    if (!pane.isKept) this.#keep(pane)
    pane.isStored = true
    return pane
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
        pane = this.#paneOf(timestampMs)
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
    this.#panes.set(pane.startMs, pane)
    this.#inOrder.splice(this.#placeOf(pane.startMs), 0, pane)
    pane.isKept = true
    this.#otherPane = this.#pane
    this.#pane = pane
  }

  /** The pane of a time; it is kept once something is added. `undefined`: no window has that time. */
  #paneOf(timestampMs: number): Pane | undefined {
    const windows = this.#windows
    let interval: TimeWindow | undefined
    if (isPaned(windows)) {
      const startMs = floorTo(timestampMs, windows.paneMs, windows.offsetMs)
      interval = { startMs, endMs: startMs + windows.paneMs }
    } else {
      interval = windows.windowsOf(timestampMs)[0]
    }
    if (interval === undefined) return undefined
    const found = this.#panes.get(interval.startMs)
    if (found !== undefined) return found
    const firstEndMs = isPaned(windows) ? windows.nextEndMs(timestampMs, -Infinity) : interval.endMs
    const lastEndMs = isPaned(windows) ? windows.lastEndMs(timestampMs) : interval.endMs
    if (firstEndMs === undefined || lastEndMs === undefined) return undefined
    const table = this.#spare ?? new KeyTable()
    this.#spare = undefined
    return new Pane(this.#nextNumber(), interval, firstEndMs, lastEndMs, table)
  }

  #nextNumber(): number {
    this.#lastNumber = (this.#lastNumber + 1) | 0 || 1
    return this.#lastNumber
  }

  #nextEndMs(pane: Pane, afterMs: number): number {
    const windows = this.#windows
    if (pane.lastEndMs <= afterMs) return Infinity
    if (!isPaned(windows)) return pane.endMs
    return windows.nextEndMs(pane.startMs, afterMs) ?? Infinity
  }

  #startOf(endMs: number): number {
    const windows = this.#windows
    if (isPaned(windows)) return windows.startOf(endMs)
    for (const pane of this.#inOrder) if (pane.endMs === endMs) return pane.startMs
    throw new Error('a window without a pane')
  }

  #panesIn({ startMs, endMs }: TimeWindow): Pane[] {
    return this.#inOrder.slice(this.#placeOf(startMs), this.#placeOf(endMs))
  }

  /** How many panes start before a time. */
  #placeOf(startMs: number): number {
    const panes = this.#inOrder
    let low = 0
    let high = panes.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((panes[middle] as Pane).startMs < startMs) low = middle + 1
      else high = middle
    }
    return low
  }

  *#fire(endMs: number): SlicedWork<void> {
    const window = { startMs: this.#startOf(endMs), endMs }
    const panes = this.#panesIn(window)
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
    for (let pane = this.#inOrder[0]; pane !== undefined; pane = this.#inOrder[0]) {
      if (pane.lastEndMs > this.#firedEndMs) return
      this.#inOrder.shift()
      this.#panes.delete(pane.startMs)
      if (this.#pane === pane) this.#pane = undefined
      if (this.#otherPane === pane) this.#otherPane = undefined
      if (pane.isStored) {
        this.#dropped.push(pane)
      } else if (this.#spare === undefined) {
        yield* pane.table.clear()
        this.#spare = pane.table
      }
    }
  }

  #keyOf(table: KeyTable, entry: number): unknown {
    const reader = this.#reader.fromSlot(table.keyOf(entry, this.#shownKey))
    return this.#context.readKey(reader, this.#context.keyCodec, 'whole')
  }

  #locate(pane: Pane, entry: number): ReturnType<StateContext<unknown>['locateBytes']> {
    const context = this.#context
    const key = pane.table.keyOf(entry, this.#shownKey)
    const group = keyGroupOf(key.view, key.offset, key.offset + key.length, context.keyGroups)
    const stored = context.locateBytes(group, key)
    stored.append(paneKey, [pane.endMs, pane.startMs])
    return stored
  }

  #store(pane: Pane, entry: number): void {
    const { table } = pane
    const value = this.#value
    value.length = 0
    const length = table.accumulatorBytes(entry)
    const to = value.reserve(length)
    copyViewed(table.memoryOf(entry), table.accumulatorAt(entry), length, value, to)
    // Before it is: where the call fails, the store may have it.
    pane.isStored = true
    table.set(entry, IS_STORED, true)
    this.#state.entries.put(this.#locate(pane, entry), value)
    table.set(entry, IS_DIRTY, false)
  }
}

/** Whether a cut can name it: its ends are exact. */
const isStorable = ({ startMs, endMs }: TimeWindow): boolean =>
  Number.isSafeInteger(startMs) && Number.isSafeInteger(endMs)

/** Accumulators as they are stored. A program with another descriptor cannot go on with them. */
function paneCodec(codec: Codec<unknown>, description: { readonly windows: string }): Codec<unknown> {
  return Object.freeze({
    descriptor: { ...description, accumulator: codec.descriptor },
    fixedBytes: undefined,
    isOpenEnded: true,
    write: (value: unknown, to: ByteWriter) => codec.write(value, to),
    read: (from: ByteReader) => codec.read(from),
  })
}

const ON_TIME: WindowPane = Object.freeze({ index: 0, kind: 'onTime', isFinal: true })
const EARLY: WindowPane = Object.freeze({ index: 0, kind: 'early', isFinal: false })

/** A number that `int64` has written into a key, without a view of the bytes. */
function int64KeyAt(bytes: Uint8Array, at: number): number {
  return (wordAt(bytes, at) ^ 0x8000_0000) * 2 ** 32 + (wordAt(bytes, at + 4) >>> 0)
}

/** A word in the order of keys, its highest byte first. */
function wordAt(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] as number) << 24) | ((bytes[at + 1] as number) << 16)
  return high | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number)
}

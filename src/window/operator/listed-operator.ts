// Windows of every kind, as the list of those that each key has open.
//
// (1) What is due when follows from the lists, and is found again when the store is opened. A key is due at the earliest time at which
//     anything becomes of its windows; each time it is, the next one follows from its list. A key that is due in vain, because a session
//     went on, costs one look.
//     What waits for the processing clock does so by itself, for each window: its key comes when the first of them may be due.
// (2) An event costs about the same however many windows its key has: a few are copied to be worked on; of many, in pages, only the pages
//     that change.

import { present } from '../../base/assert.js'
import type { SlicedWork } from '../../base/slices.js'
import type { Stretch } from '../../base/slot.js'
import { ByteReader, ByteWriter } from '../../state/codec/bytes.js'
import type { Codec } from '../../state/codec/codec.js'
import { checkValueLength } from '../../state/entries/state-entries.js'
import type { KeyLike } from '../../state/key/stored-key.js'
import { map, type StateDefinition, value } from '../../state/kinds/definitions.js'
import type { StateContext } from '../../state/kinds/state-context.js'
import type { OpenState } from '../../state/open-state.js'
import { openStateOf } from '../../state/store.js'
import type { TimeWindow } from '../assign/assigner.js'
import { DueKeys } from '../due/due-keys.js'
import { DueRun } from '../due/due-run.js'
import type { Pane } from '../windowed.js'
import { Accumulator } from './accumulator.js'
import { EventKey } from './event-key.js'
import { FiringFailure } from './firing-failure.js'
import { eventKey, type KeptEvent, KeptEvents } from './kept-events.js'
import { IS_DEAD, IS_DIRTY, IS_LARGE, KeyTable, TableKey } from './key-table.js'
import { LargeLists, LIST_NUMBER_BYTES } from './large-lists.js'
import { type Entered, type Fire, type FireExtras, ListedWindows } from './listed-windows.js'
import { StoredLists } from './stored-lists.js'
import { WindowList, windowListCodec } from './window-list.js'
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

/** So many keys are worked on in one step. */
const STEP_KEYS = 64
/** The table is made anew where a larger share of its keys is dead. */
const COMPACTED_SHARE = 1 / 2
/** Of a key of which nothing fires: it comes behind the others. */
const NO_WINDOW: TimeWindow = { startMs: Number.MAX_VALUE, endMs: Number.MAX_VALUE }
/** Bytes behind the key of a kept event. */
const EVENT_BYTES = 12

const eventsName = (name: string): string => `${name}.events`

export function listedStates(name: string, definition: ErasedWindows): { [name: string]: StateDefinition } {
  const { windows, aggregate, events, early, allowedLatenessMs = 0, panes = 'accumulating' } = definition
  const { codec, kind } = events === undefined ? (aggregate as ErasedAggregate) : {}
  // What a discarding result has told is not in its window any more.
  const description = {
    windows: windows.description,
    ...kindOf(kind),
    ...(allowedLatenessMs === 0 && early === undefined ? {} : { panes }),
  }
  return {
    [name]: value(windowListCodec(codec, description)),
    ...(events === undefined ? {} : { [eventsName(name)]: map(eventKey, events as Codec<unknown>) }),
  }
}

export class ListedOperator implements WindowOperator {
  readonly #nowMs: () => number
  /** How many bytes the windows of a key may have together. */
  readonly #maxBytes: number
  readonly #output: WindowOutput
  readonly #state: OpenState
  readonly #context: StateContext<unknown>
  readonly #table = new KeyTable()
  readonly #stored: StoredLists
  readonly #large = new LargeLists()
  /** Where the windows of a key that has few are copied to. */
  readonly #few = new WindowList()
  /** The windows of the key at hand. */
  #list = this.#few
  readonly #windows: ListedWindows
  /** `undefined` where the events are kept. */
  readonly #accumulator: Accumulator | undefined
  readonly #kept: KeptEvents | undefined
  readonly #due = new DueKeys()
  readonly #awaited = new DueKeys()
  readonly #tableKey = new TableKey()
  readonly #eventKey: EventKey
  readonly #reader = new ByteReader()
  /** The windows of the key at hand before its event, where they are few. */
  readonly #bytesBefore = new ByteWriter()
  /** The same where they are many. */
  #largeBefore: WindowList | undefined
  #countBefore = 0
  #numberBefore = 0
  #lastTimestampMs = 0
  /** Kept events that the last save has let go of. */
  #gone: readonly KeptEvent[] = []
  #entered: Entered = { hasEntered: false, dueMs: undefined, missed: [], awaitedMs: Infinity }
  #watermarkMs = -Infinity
  /** What fires may be put out step by step. */
  #isAdvancing = false
  #open = 0
  /** When those were due that fire at the moment, step by step. */
  #firingMs = Infinity

  constructor(options: WindowOperatorOptions) {
    const { definition, store, name, nowMs } = options
    this.#nowMs = nowMs
    this.#output = new WindowOutput(options)
    this.#state = openStateOf(store, name)
    this.#context = this.#state.context
    this.#maxBytes = this.#state.entries.maxValueBytes
    this.#stored = new StoredLists(this.#state, this.#table, this.#large)
    const { windows, aggregate, events, process, allowedLatenessMs = 0, early, refireMs, panes } = definition
    const accumulator =
      aggregate === undefined ? undefined : new Accumulator(aggregate as unknown as ErasedAggregate)
    if (events !== undefined) {
      this.#kept = new KeptEvents(openStateOf(store, eventsName(name)), events as Codec<unknown, unknown>)
    }
    this.#eventKey = new EventKey(this.#context, this.#tableKey, events === undefined ? 0 : EVENT_BYTES)
    const valueOf = (window: TimeWindow): unknown => {
      const found = present(this.#kept, 'kept events').read(this.#keyBytes(), window)
      return process === undefined
        ? folded(present(accumulator, 'an aggregate'), found.events, found.timestamps)
        : process(found.events, window)
    }
    const listed = {
      windows,
      allowedLatenessMs,
      everyEvents: early?.everyEvents ?? Infinity,
      everyMs: early?.everyMs,
      refireMs,
      nowMs,
      isDiscarding: panes === 'discarding',
    }
    const inPlace = events === undefined ? accumulator : undefined
    this.#accumulator = inPlace
    const fire: Fire = (window, result, pane, more) => {
      const found = this.#resultOf(window, result, pane, more)
      if (this.#isAdvancing) this.#output.resultInSteps(found)
      else this.#output.result(found)
    }
    this.#windows = new ListedWindows(listed, this.#list, inPlace, valueOf, fire)
  }

  get late(): LateFigures {
    return this.#output.late
  }

  get open(): number {
    return this.#open
  }

  get nextProcessingMs(): number {
    return this.#awaited.nextMs
  }

  get nextDueMs(): number {
    return Math.min(this.#firingMs, this.#due.nextMs)
  }

  add(key: KeyLike<unknown>, event: unknown, timestampMs: number, watermarkMs: number): void {
    this.#watermarkMs = watermarkMs
    this.#output.begin()
    this.#eventKey.set(key)
    this.#load()
    this.#keepBefore()
    this.#lastTimestampMs = timestampMs
    const entered: Entered = {
      hasEntered: false,
      dueMs: undefined,
      missed: this.#entered.missed,
      awaitedMs: Infinity,
    }
    if (entered.missed.length > 0) entered.missed = []
    this.#entered = entered
    if (this.#accumulator !== undefined) this.#accumulator.isAdding = true
    try {
      this.#windows.enter(event, timestampMs, watermarkMs, entered)
      checkValueLength(this.#list.length, this.#maxBytes)
      if (entered.hasEntered && this.#kept !== undefined) {
        this.#kept.put(this.#keyBytes(), timestampMs, this.#list.nextNumber++, event)
      }
    } catch (error) {
      throw this.#context.failure('write', error, key)
    } finally {
      if (this.#accumulator !== undefined) this.#accumulator.isAdding = false
    }
    const { count } = this.#list
    try {
      if (entered.missed.length > 0) {
        this.#output.missed(event, { timestampMs, watermarkMs }, entered.missed, !entered.hasEntered)
      }
      if (!entered.hasEntered) return
      this.#windows.fireEntered(watermarkMs)
    } catch (error) {
      // What was told of it threw. The list is not saved; of the event nothing may be left that was.
      this.#kept?.revert(this.#keyBytes(), timestampMs, this.#numberBefore)
      this.#output.revert()
      throw error
    }
    this.#save(count)
    this.#open += this.#list.count - this.#countBefore
    const stretch = this.#tableKeyStretch()
    if (entered.dueMs !== undefined) this.#due.add(entered.dueMs, 0, stretch)
    if (entered.awaitedMs < Infinity)
      this.#awaited.add(Math.max(entered.awaitedMs, this.#nowMs()), 0, stretch)
  }

  revert(): void {
    this.#output.revert()
    if (!this.#entered.hasEntered) return
    this.#kept?.putBack(this.#keyBytes(), this.#gone)
    this.#kept?.revert(this.#keyBytes(), this.#lastTimestampMs, this.#numberBefore)
    this.#open += this.#countBefore - this.#list.count
    this.#loadBefore()
    this.#save(0)
  }

  *advance(watermarkMs: number): SlicedWork<void> {
    this.#watermarkMs = watermarkMs
    this.#firingMs = this.#due.nextMs
    try {
      const run = yield* DueRun.of(this.#due, watermarkMs)
      for (let closed = 1; run.next(); closed++) {
        const { dueMs, key } = run.current
        this.#firingMs = dueMs
        if (run.peekMs() === dueMs) yield* this.#closeTogether(run, dueMs)
        else yield* this.#close(run, dueMs, key)
        if (closed % STEP_KEYS === 0) yield
      }
    } finally {
      this.#firingMs = Infinity
    }
    yield* this.#compact()
  }

  *onProcessingTime(nowMs: number): SlicedWork<void> {
    if (this.#awaited.nextMs > nowMs) return
    const run = yield* DueRun.of(this.#awaited, nowMs)
    for (let shown = 1; run.next(); shown++) {
      if (this.#loadKey(run.current.key)) {
        this.#fires(() => this.#windows.fireAwaited(this.#watermarkMs, nowMs))
        this.#save(0)
        // Others of its windows began to wait later.
        const nextMs = this.#windows.nextAwaitedMs()
        if (nextMs < Infinity) run.add(nextMs, 0, run.current.key)
        if (this.#output.isWaiting) yield* this.#output.rest()
      }
      if (shown % STEP_KEYS === 0) yield
    }
  }

  peek(key: KeyLike<unknown>): AnyResult[] {
    this.#accumulator?.checkShowable()
    const found: AnyResult[] = []
    // Whoever is told of a result may ask for more: its key is at hand again afterwards.
    const atHand = this.#keyBytes()
    try {
      this.#eventKey.set(key)
      const entry = this.#entry()
      if (entry === 0) return found
      this.#windows.show(this.#shown(entry), (window, result, pane, more) => {
        found.push(this.#resultOf(window, result, pane, more))
      })
    } catch (error) {
      throw this.#context.failure('read', error, key)
    } finally {
      this.#tableKey.set(atHand, 0, atHand.length)
    }
    return found
  }

  *flush(): SlicedWork<void> {
    if (this.#kept !== undefined) yield* this.#kept.flush()
    yield* this.#stored.flush()
    yield* this.#compact()
  }

  *restore(watermarkMs: number): SlicedWork<void> {
    this.#watermarkMs = watermarkMs
    if (this.#kept !== undefined) yield* this.#kept.restore()
    yield* this.#stored.restore((entry, { bytes, length }) => {
      this.#loadKey({ bytes, offset: 0, length })
      for (let i = 0; i < this.#list.count; i++) this.#accumulator?.check(this.#list, i)
      this.#open += this.#list.count
      const dueMs = this.#windows.nextDueMs()
      const stretch = this.#tableKeyStretch()
      if (dueMs !== undefined) this.#due.add(dueMs, 0, stretch)
      const nowMs = this.#nowMs()
      const hasChanged = this.#windows.waitSinceAtMost(nowMs)
      if (hasChanged && !this.#list.isLarge)
        this.#list.copyTo(this.#table.memoryOf(entry), this.#table.accumulatorAt(entry))
      const awaitedMs = this.#windows.nextAwaitedMs()
      if (awaitedMs < Infinity) this.#awaited.add(Math.max(awaitedMs, nowMs), 0, stretch)
      if (this.#list.isLarge) this.#keepLarge(this.#table.resizeAccumulator(entry, LIST_NUMBER_BYTES))
    })
  }

  /** Of all keys that are due at one time, those whose window ends first come first, then those whose starts first (W16). */
  *#closeTogether(run: DueRun, dueMs: number): SlicedWork<void> {
    const keys = [this.#keyToClose(run, dueMs)]
    while (run.peekMs() === dueMs && run.next()) {
      keys.push(this.#keyToClose(run, dueMs))
      if (keys.length % STEP_KEYS === 0) yield
    }
    // Sorting is stable: keys stay in their order.
    keys.sort((left, right) => left.endMs - right.endMs || left.startMs - right.startMs)
    for (const [i, { key }] of keys.entries()) {
      yield* this.#close(run, dueMs, { bytes: key, offset: 0, length: key.length })
      if (i % STEP_KEYS === STEP_KEYS - 1) yield
    }
  }

  /** The key that the run has come to, to be kept, and where its first window is that fires. */
  #keyToClose(run: DueRun, dueMs: number): TimeWindow & { readonly key: Uint8Array } {
    const { bytes, offset, length } = run.current.key
    const window = this.#loadKey(run.current.key) ? this.#windows.firstFiring(dueMs) : undefined
    const key = new Uint8Array(bytes.subarray(offset, offset + length))
    return { ...(window ?? NO_WINDOW), key }
  }

  *#close(run: DueRun, dueMs: number, key: Stretch): SlicedWork<void> {
    if (!this.#loadKey(key)) return
    const { count } = this.#list
    this.#fires(() => this.#windows.fireDue(dueMs, this.#watermarkMs))
    this.#save(count)
    this.#open += this.#list.count - count
    const nextMs = this.#windows.nextDueMs()
    if (nextMs !== undefined) run.add(nextMs, 0, key)
    if (this.#output.isWaiting) yield* this.#output.rest()
  }

  /** Windows of the key at hand fire. */
  #fires(fire: () => void): void {
    this.#isAdvancing = true
    try {
      fire()
    } catch (error) {
      throw FiringFailure.of(error, this.#windows.firing, () => this.#keyAtHand())
    } finally {
      this.#isAdvancing = false
    }
  }

  #loadKey({ bytes, offset, length }: Stretch): boolean {
    this.#tableKey.set(bytes, offset, length)
    return this.#load()
  }

  /** The windows of the key at hand; whether there are any. */
  #load(): boolean {
    const entry = this.#entry()
    if (entry !== 0 && this.#table.has(entry, IS_LARGE)) {
      this.#use(this.#large.of(this.#table, entry).fork())
      return true
    }
    this.#use(this.#few)
    if (entry === 0) this.#few.clear()
    else this.#loadFew(entry, this.#few)
    return entry !== 0
  }

  #use(list: WindowList): void {
    if (this.#list === list) return
    this.#list = list
    this.#windows.workOn(list)
  }

  /** The entry of the key at hand, or 0 where it has no window. */
  #entry(): number {
    const entry = this.#table.find(this.#tableKey)
    return entry === 0 || this.#table.has(entry, IS_DEAD) ? 0 : entry
  }

  /** The windows of an entry, to be looked at. */
  #shown(entry: number): WindowList {
    if (this.#table.has(entry, IS_LARGE)) return this.#large.of(this.#table, entry).fork()
    const shown = new WindowList()
    this.#loadFew(entry, shown)
    return shown
  }

  #loadFew(entry: number, list: WindowList): void {
    const table = this.#table
    list.load(table.memoryOf(entry), table.accumulatorAt(entry), table.accumulatorBytes(entry))
  }

  #keepBefore(): void {
    const list = this.#list
    this.#countBefore = list.count
    this.#numberBefore = list.nextNumber
    this.#largeBefore = list === this.#few ? undefined : list.fork()
    if (this.#largeBefore !== undefined) return
    const before = this.#bytesBefore
    before.length = 0
    list.copyTo(before, before.reserve(list.length))
  }

  #loadBefore(): void {
    const before = this.#bytesBefore
    if (this.#largeBefore === undefined) this.#few.load(before, 0, before.length)
    this.#use(this.#largeBefore ?? this.#few)
  }

  /** @param count how many windows there were: where there are fewer, events may be needed no more. */
  #save(count: number): void {
    const list = this.#list
    const table = this.#table
    let entry = table.find(this.#tableKey)
    if (list.count > 0) {
      const wasLarge = entry !== 0 && table.has(entry, IS_LARGE)
      const length = list.isLarge ? LIST_NUMBER_BYTES : list.length
      if (wasLarge && !list.isLarge) this.#letGoOfLarge(entry)
      if (entry === 0) entry = table.add(this.#tableKey, length)
      else entry = table.resizeAccumulator(entry, length)
      if (!list.isLarge) list.copyTo(table.memoryOf(entry), table.accumulatorAt(entry))
      else if (wasLarge) this.#large.replace(table, entry, list)
      else this.#keepLarge(entry)
      table.setDead(entry, false)
      table.set(entry, IS_DIRTY, true)
    } else if (entry !== 0) {
      if (table.has(entry, IS_LARGE)) this.#letGoOfLarge(entry)
      table.setDead(entry, true)
      table.set(entry, IS_DIRTY, true)
    }
    this.#gone = []
    if (this.#kept === undefined || list.count >= count) return
    const neededFromMs = list.count === 0 ? Infinity : list.startMs(0)
    this.#gone = this.#kept.removeBefore(this.#keyBytes(), neededFromMs)
  }

  /** The list at hand is kept as it is for an entry that had another form. */
  #keepLarge(entry: number): void {
    this.#large.keep(this.#table, entry, this.#list === this.#few ? this.#few.fork() : this.#list)
    this.#table.set(entry, IS_LARGE, true)
  }

  #letGoOfLarge(entry: number): void {
    this.#large.letGo(this.#table, entry)
    this.#table.set(entry, IS_LARGE, false)
  }

  /** Keeps the table within a constant factor of what is alive. */
  *#compact(): SlicedWork<void> {
    if (this.#table.isMostlyDead(COMPACTED_SHARE)) yield* this.#table.compact()
  }

  #tableKeyStretch(): Stretch {
    const { bytes, length } = this.#tableKey
    return { bytes, offset: 0, length }
  }

  /** The bytes of the key at hand, as a copy. */
  #keyBytes(): Uint8Array {
    const { bytes, length } = this.#tableKey
    return new Uint8Array(bytes.subarray(0, length))
  }

  #resultOf(window: TimeWindow, found: unknown, pane: Pane, more: FireExtras | undefined): AnyResult {
    const key = this.#keyAtHand()
    const result = { key, window, value: found, timestampMs: window.endMs - 1, pane }
    return more === undefined ? result : { ...result, ...more }
  }

  #keyAtHand(): unknown {
    const { bytes, length } = this.#tableKey
    const reader = this.#reader
    // The same memory again needs no new view.
    if (reader.bytes === bytes) reader.position = 0
    else reader.fromBytes(bytes)
    reader.end = length
    return this.#context.readKey(reader, this.#context.keyCodec, 'whole')
  }
}

/** What a window of these events comes to. */
function folded(
  accumulator: Accumulator,
  events: readonly unknown[],
  timestamps: readonly number[],
): unknown {
  const list = new WindowList()
  list.insert(0, 0, 0, accumulator.zeroBytes)
  events.forEach((event, i) => accumulator.add(list, 0, event, timestamps[i] as number))
  return accumulator.result(list, 0)
}

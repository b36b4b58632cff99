// Sessions of which each fires once, at its end, and whose aggregate has a fixed size: most events begin a session of a key that has none,
// go on with one that it has, or join some, and that is done where they lie.
//
// (1) Of each session something is in `due` that is due when it ends, or before; it names the entry, not the key. What is due in vain,
//     because the session went on, is put there again.
// (2) While an advance puts sessions out of a key that has several, they stay where they are, marked, and are taken away together.
// (3) Entries are elsewhere once the table was compacted, so `due` is made anew then, and nothing else keeps their numbers.

import type { SlicedWork } from '../../base/slices.js'
import { copyViewed, Slot, type ViewedBytes } from '../../base/slot.js'
import { ByteReader, ByteWriter } from '../../state/codec/bytes.js'
import { type KeyLike, plainKey } from '../../state/key/stored-key.js'
import type { StateContext } from '../../state/kinds/state-context.js'
import { openStateOf } from '../../state/store.js'
import type { RawAggregate } from '../aggregate/raw-aggregate.js'
import { rawOf } from '../aggregate/raw-aggregate.js'
import type { SessionWindows } from '../assign/by-key.js'
import { DueKeys } from '../due/due-keys.js'
import { type KeyedRecords, sortedByKey } from '../due/key-order.js'
import type { Pane } from '../windowed.js'
import { Accumulator, HAS_VALUE } from './accumulator.js'
import { EventKey } from './event-key.js'
import { FixedSessions } from './fixed-sessions.js'
import { IS_DEAD, IS_DIRTY, KeyTable, NEAR_KEYS, TableKey, TablePlace } from './key-table.js'
import { checkSessionEnd, type Fire, ListedWindows } from './listed-windows.js'
import { StoredLists } from './stored-lists.js'
import { ONE_WINDOW, WindowList } from './window-list.js'
import {
  type AnyResult,
  type ErasedAggregate,
  type ErasedWindows,
  type LateFigures,
  type WindowOperator,
  type WindowOperatorOptions,
  WindowOutput,
} from './window-operator.js'

/** So many keys are worked on in one step. */
const STEP_KEYS = 64
/** Behind a compaction all that is due is made anew: it waits until more is dead than where that is not so. */
const COMPACTED_SHARE = 3 / 4
/** A session of it has ended, and is about to be put out. */
const IS_CLOSING = 16
/** Bytes of an entry's number. */
const ENTRY_BYTES = 4

/** Whether windows are sessions of this kind. */
export function arePlainSessions({
  windows,
  aggregate,
  events,
  allowedLatenessMs = 0,
  early,
}: ErasedWindows): boolean {
  if (!('kind' in windows) || windows.kind !== 'session' || aggregate === undefined) return false
  const firesOnce = allowedLatenessMs === 0 && early === undefined
  return firesOnce && events === undefined && rawOf(aggregate) !== undefined
}

export class PlainSessions implements WindowOperator {
  readonly nextProcessingMs: number = Infinity
  readonly #gapMs: number
  readonly #output: WindowOutput
  readonly #context: StateContext<unknown>
  readonly #accumulator: Accumulator
  readonly #raw: RawAggregate<unknown, unknown>
  readonly #table = new KeyTable()
  readonly #stored: StoredLists
  readonly #tableKey = new TableKey()
  readonly #eventKey: EventKey
  readonly #place = new TablePlace()
  /** Bytes of a value with one session. */
  readonly #oneBytes: number
  #due = new DueKeys()
  readonly #dueEntry = new Slot()
  /** Entries that are needed next. */
  readonly #near = new Int32Array(NEAR_KEYS)
  /** Those of a key that has several. */
  readonly #sessions: FixedSessions
  /** The entries that have several, of which some were put out. */
  readonly #closing = new Set<number>()
  /** The value of an event alone, which is merged into sessions. */
  readonly #ownValue: ViewedBytes
  /** The sessions of a key, where they are looked at or checked one by one. */
  readonly #list = new WindowList()
  readonly #windows: ListedWindows
  readonly #reader = new ByteReader()
  readonly #shownKey = new Slot()
  /** The entry that the last event has changed, and what it had; 0 where it has changed none. */
  #lastEntry = 0
  readonly #before = new ByteWriter()
  /** The session of that entry which alone has changed; -1: what it had is all of it. */
  #lastSession = -1
  #open = 0
  /** Nothing that fires at the moment, step by step, was due before. */
  #firingMs = Infinity

  constructor(options: WindowOperatorOptions) {
    const { windows, aggregate } = options.definition
    this.#gapMs = (windows as SessionWindows).gapMs
    this.#output = new WindowOutput(options)
    const state = openStateOf(options.store, options.name)
    this.#context = state.context
    this.#stored = new StoredLists(state, this.#table)
    this.#eventKey = new EventKey(this.#context, this.#tableKey, 0)
    const accumulator = new Accumulator(aggregate as unknown as ErasedAggregate)
    this.#accumulator = accumulator
    this.#raw = accumulator.raw as RawAggregate<unknown, unknown>
    this.#oneBytes = ONE_WINDOW.accumulatorAt + accumulator.zeroBytes
    this.#sessions = new FixedSessions(accumulator.zeroBytes)
    const ownBytes = new Uint8Array(accumulator.zeroBytes)
    this.#ownValue = { bytes: ownBytes, view: new DataView(ownBytes.buffer) }
    const entryBytes = new Uint8Array(ENTRY_BYTES)
    this.#dueEntry.bytes = entryBytes
    this.#dueEntry.view = new DataView(entryBytes.buffer)
    this.#dueEntry.length = ENTRY_BYTES
    const listed = {
      windows,
      allowedLatenessMs: 0,
      everyEvents: Infinity,
      waitsEarly: false,
      waitsLate: false,
      isDiscarding: false,
    }
    this.#windows = new ListedWindows(listed, this.#list, accumulator, keepsNone, fires)
  }

  get late(): LateFigures {
    return this.#output.late
  }

  get open(): number {
    return this.#open
  }

  get isFar(): boolean {
    return this.#table.isFar
  }

  ahead(keys: readonly unknown[], count: number): void {
    this.#eventKey.ahead(keys, count, this.#table)
  }

  add(key: KeyLike<unknown>, event: unknown, timestampMs: number, watermarkMs: number): void {
    this.#output.begin()
    this.#lastEntry = 0
    this.#lastSession = -1
    const table = this.#table
    const place = this.#place
    const tableKey = this.#eventKey.set(key)
    const entry = table.find(tableKey)
    if (entry === 0 || table.has(entry, IS_DEAD)) {
      const isTooLate = watermarkMs >= timestampMs + this.#gapMs - 1
      if (isTooLate) this.#onMissed(event, timestampMs, watermarkMs)
      else this.#begin(entry, tableKey, key, event, timestampMs)
      return
    }
    table.show(entry, place)
    const { view, words, flagsAt, payloadAt } = place
    const goesOn =
      table.accumulatorBytes(entry) === this.#oneBytes &&
      timestampMs >= view.getFloat64(payloadAt + ONE_WINDOW.startAt, true) &&
      timestampMs <= view.getFloat64(payloadAt + ONE_WINDOW.endAt, true)
    if (!goesOn) {
      this.#addToSeveral(entry, key, event, timestampMs, watermarkMs)
      return
    }
    this.#keepBefore(place, payloadAt, this.#oneBytes)
    this.#accumulator.isAdding = true
    try {
      checkSessionEnd(timestampMs, this.#gapMs)
      this.#raw.add(view, payloadAt + ONE_WINDOW.accumulatorAt, event, timestampMs, false)
    } catch (error) {
      copyViewed(this.#before, 0, this.#oneBytes, place, payloadAt)
      throw this.#context.failure('write', error, key)
    } finally {
      this.#accumulator.isAdding = false
    }
    const endAt = payloadAt + ONE_WINDOW.endAt
    const endMs = timestampMs + this.#gapMs
    if (endMs > view.getFloat64(endAt, true)) view.setFloat64(endAt, endMs, true)
    const changesAt = payloadAt + ONE_WINDOW.changesAt
    const changes = view.getUint32(changesAt, true)
    if (changes < 0xffffffff) view.setUint32(changesAt, changes + 1, true)
    words[flagsAt] = (words[flagsAt] as number) | IS_DIRTY
    this.#lastEntry = entry
  }

  revert(): void {
    this.#output.revert()
    const entry = this.#lastEntry
    if (entry === 0) return
    this.#lastEntry = 0
    const table = this.#table
    const { length } = this.#before
    if (this.#lastSession >= 0) {
      this.#revertOne(entry, this.#lastSession)
      return
    }
    this.#open += this.#countIn(length) - this.#countIn(table.accumulatorBytes(entry))
    table.setDead(entry, length === 0)
    table.set(entry, IS_DIRTY, true)
    if (length === 0) return
    // What is in `due` for the sessions of before is still there: it is due when they end, or before.
    const at = table.resizeAccumulator(entry, length)
    copyViewed(this.#before, 0, length, table.memoryOf(at), table.accumulatorAt(at))
    if (at !== entry) this.#addDue(at, this.#firstEndMs(at))
  }

  *advance(watermarkMs: number): SlicedWork<void> {
    this.#firingMs = this.#due.nextMs
    try {
      const ended = yield* this.#ended(watermarkMs)
      const order = yield* ended.sorted()
      for (let i = 0; i < order.length; i++) {
        if (i % NEAR_KEYS === 0) this.#bringNear(ended, order, i)
        this.#close(ended, order[i] as number)
        if (this.#output.isWaiting) yield* this.#output.rest()
        if (i % STEP_KEYS === STEP_KEYS - 1) yield
      }
    } finally {
      this.#firingMs = Infinity
      this.#dropClosed()
    }
    yield* this.#compact(watermarkMs)
  }

  *onProcessingTime(): SlicedWork<void> {}

  get nextDueMs(): number {
    return Math.min(this.#firingMs, this.#due.nextMs)
  }

  peek(key: KeyLike<unknown>): AnyResult[] {
    this.#accumulator.checkShowable()
    const found: AnyResult[] = []
    const entry = this.#table.find(this.#eventKey.set(key))
    if (entry === 0 || this.#table.has(entry, IS_DEAD)) return found
    this.#load(entry)
    this.#windows.show(this.#list, (window, value, pane) => {
      found.push({ key: plainKey(key), window, value, timestampMs: window.endMs - 1, pane })
    })
    return found
  }

  *flush(): SlicedWork<void> {
    yield* this.#stored.flush()
  }

  *restore(watermarkMs: number): SlicedWork<void> {
    yield* this.#due.takeUnsorted(watermarkMs)
    yield* this.#stored.restore((entry) => {
      this.#load(entry)
      for (let i = 0; i < this.#list.count; i++) {
        this.#accumulator.check(this.#list, i)
        // Of sessions that had fired and went on, under other options: nothing is told of that here.
        this.#list.setReplaces(i, [])
      }
      this.#save(entry)
      this.#open += this.#list.count
      this.#addDue(entry, this.#firstEndMs(entry))
    })
  }

  /** The only session of a key, which has none or had one before. */
  #begin(
    entryBefore: number,
    tableKey: TableKey,
    key: KeyLike<unknown>,
    event: unknown,
    timestampMs: number,
  ): void {
    const table = this.#table
    const place = this.#place
    if (entryBefore === 0) table.open(tableKey, this.#oneBytes, place)
    else table.show(table.resizeAccumulator(entryBefore, this.#oneBytes), place)
    const { entry, view, bytes, payloadAt } = place
    if (entryBefore !== 0) bytes.fill(0, payloadAt, payloadAt + this.#oneBytes)
    this.#accumulator.isAdding = true
    try {
      checkSessionEnd(timestampMs, this.#gapMs)
      this.#raw.add(view, payloadAt + ONE_WINDOW.accumulatorAt, event, timestampMs, true)
    } catch (error) {
      table.setDead(entry, true)
      throw this.#context.failure('write', error, key)
    } finally {
      this.#accumulator.isAdding = false
    }
    view.setFloat64(payloadAt + ONE_WINDOW.startAt, timestampMs, true)
    view.setFloat64(payloadAt + ONE_WINDOW.endAt, timestampMs + this.#gapMs, true)
    view.setUint32(payloadAt + ONE_WINDOW.changesAt, 1, true)
    view.setUint16(payloadAt + ONE_WINDOW.flagsAt, HAS_VALUE, true)
    view.setUint32(payloadAt + ONE_WINDOW.lengthAt, this.#accumulator.zeroBytes, true)
    table.setDead(entry, false)
    table.set(entry, IS_DIRTY, true)
    this.#open++
    this.#before.length = 0
    this.#lastEntry = entry
    this.#addDue(entry, timestampMs + this.#gapMs)
  }

  /** An event of a key that has several sessions, or that does not go on with its only one. */
  #addToSeveral(
    entry: number,
    key: KeyLike<unknown>,
    event: unknown,
    timestampMs: number,
    watermarkMs: number,
  ): void {
    const sessions = this.#sessions
    this.#show(entry)
    const { count } = sessions
    const i = sessions.firstEndingFrom(timestampMs)
    const goesOn = i < count && sessions.startMs(i) <= timestampMs
    const next = goesOn ? i + 1 : i
    let until = next
    while (until < count && sessions.startMs(until) - this.#gapMs <= timestampMs) until++
    if (until > next) this.#join(entry, i, until, key, event, timestampMs)
    else if (goesOn) this.#goOn(entry, i, key, event, timestampMs)
    else if (watermarkMs >= timestampMs + this.#gapMs - 1) this.#onMissed(event, timestampMs, watermarkMs)
    else this.#beginOne(entry, i, key, event, timestampMs)
  }

  /** One of several sessions goes on. */
  #goOn(entry: number, i: number, key: KeyLike<unknown>, event: unknown, timestampMs: number): void {
    const sessions = this.#sessions
    this.#keepBefore(sessions.memory, sessions.placeOf(i), sessions.strideBytes)
    this.#addToOne(i, key, event, timestampMs, false, () => this.#putBack(i))
    sessions.setInterval(i, sessions.startMs(i), Math.max(sessions.endMs(i), timestampMs + this.#gapMs))
    this.#noteOne(entry, i)
  }

  /** An event joins sessions of a key, or comes before one: their values are merged in the order of their starts (W15). */
  #join(
    entry: number,
    from: number,
    until: number,
    key: KeyLike<unknown>,
    event: unknown,
    timestampMs: number,
  ): void {
    const sessions = this.#sessions
    const raw = this.#raw
    const own = this.#ownValue
    const { bytes, view } = sessions.memory
    const joinedAt = sessions.accumulatorAt(from)
    const comesFirst = timestampMs < sessions.startMs(from)
    this.#keepBefore(sessions.memory, sessions.placeOf(from), (until - from) * sessions.strideBytes)
    own.bytes.fill(0)
    this.#accumulator.isAdding = true
    try {
      checkSessionEnd(timestampMs, this.#gapMs)
      raw.add(own.view, 0, event, timestampMs, true)
      if (comesFirst) {
        raw.merge(own.view, 0, view, joinedAt)
        bytes.set(own.bytes, joinedAt)
      } else {
        raw.merge(view, joinedAt, own.view, 0)
      }
      for (let i = from + 1; i < until; i++) raw.merge(view, joinedAt, view, sessions.accumulatorAt(i))
    } catch (error) {
      this.#putBack(from)
      throw this.#context.failure('write', error, key)
    } finally {
      this.#accumulator.isAdding = false
    }
    const joined = until - from - 1
    sessions.join(from, until, timestampMs, timestampMs + this.#gapMs)
    // It is not due before its first session was: what is in `due` is enough. What is shorter stays where it is.
    this.#table.resizeAccumulator(entry, sessions.bytesOf(sessions.count))
    this.#table.set(entry, IS_DIRTY, true)
    this.#open -= joined
    this.#lastEntry = entry
    this.#lastSession = from
  }

  /** A session between those that a key has, or behind them. */
  #beginOne(entry: number, i: number, key: KeyLike<unknown>, event: unknown, timestampMs: number): void {
    const table = this.#table
    const sessions = this.#sessions
    const { count } = sessions
    const at = table.resizeAccumulator(entry, sessions.bytesOf(count + 1))
    sessions.show(table.memoryOf(at), table.accumulatorAt(at), sessions.bytesOf(count))
    // It is due when its first session ends, if no other one has come before that.
    if (at !== entry || i === 0) this.#addDue(at, i === 0 ? timestampMs + this.#gapMs : sessions.endMs(0))
    sessions.open(i)
    this.#before.length = 0
    this.#addToOne(i, key, event, timestampMs, true, () => this.#closeOne(at, i))
    this.#open++
    sessions.setInterval(i, timestampMs, timestampMs + this.#gapMs)
    this.#noteOne(at, i)
  }

  /** Adds an event to a session that is shown; what throws undoes it. */
  #addToOne(
    i: number,
    key: KeyLike<unknown>,
    event: unknown,
    timestampMs: number,
    isFirst: boolean,
    undo: () => void,
  ): void {
    const sessions = this.#sessions
    this.#accumulator.isAdding = true
    try {
      checkSessionEnd(timestampMs, this.#gapMs)
      this.#raw.add(sessions.memory.view, sessions.accumulatorAt(i), event, timestampMs, isFirst)
    } catch (error) {
      undo()
      throw this.#context.failure('write', error, key)
    } finally {
      this.#accumulator.isAdding = false
    }
  }

  #noteOne(entry: number, i: number): void {
    this.#sessions.noteChange(i)
    this.#table.set(entry, IS_DIRTY, true)
    this.#lastEntry = entry
    this.#lastSession = i
  }

  /** What the last event has made of a session is undone; what is in `due` is due when its first one ends, or before. */
  #revertOne(entry: number, i: number): void {
    this.#show(entry)
    if (this.#before.length === 0) {
      this.#closeOne(entry, i)
      this.#open--
      return
    }
    const joined = this.#before.length / this.#sessions.strideBytes - 1
    const at = joined > 0 ? this.#divide(entry, i, joined) : entry
    this.#putBack(i)
    if (at !== entry) this.#addDue(at, this.#sessions.endMs(0))
  }

  /** Makes room again for sessions that the last event has joined with the one before them; returns where the entry is now. */
  #divide(entry: number, i: number, joined: number): number {
    const table = this.#table
    const sessions = this.#sessions
    const { count } = sessions
    const at = table.resizeAccumulator(entry, sessions.bytesOf(count + joined))
    sessions.show(table.memoryOf(at), table.accumulatorAt(at), sessions.bytesOf(count))
    for (let each = 0; each < joined; each++) sessions.open(i + 1)
    this.#open += joined
    return at
  }

  /** Puts what was kept before into the place of a session, and of those behind it. */
  #putBack(i: number): void {
    const { memory } = this.#sessions
    copyViewed(this.#before, 0, this.#before.length, memory, this.#sessions.placeOf(i))
  }

  #closeOne(entry: number, i: number): void {
    this.#sessions.close(i)
    this.#table.resizeAccumulator(entry, this.#sessions.bytesOf(this.#sessions.count))
  }

  #onMissed(event: unknown, timestampMs: number, watermarkMs: number): void {
    const window = { startMs: timestampMs, endMs: timestampMs + this.#gapMs }
    this.#output.missed(event, { timestampMs, watermarkMs }, [window], true)
  }

  #keepBefore(memory: ViewedBytes, at: number, length: number): void {
    const before = this.#before
    before.length = 0
    before.reserve(length)
    copyViewed(memory, at, length, before, 0)
  }

  /** The sessions of an entry. */
  #load(entry: number): void {
    const table = this.#table
    this.#list.load(table.memoryOf(entry), table.accumulatorAt(entry), table.accumulatorBytes(entry))
  }

  /** Writes the list to its entry; returns where that is now. */
  #save(entry: number): number {
    const at = this.#table.resizeAccumulator(entry, this.#list.length)
    this.#list.copyTo(this.#table.memoryOf(at), this.#table.accumulatorAt(at))
    return at
  }

  /** Shows the sessions of an entry where they lie. */
  #show(entry: number): void {
    const table = this.#table
    this.#sessions.show(table.memoryOf(entry), table.accumulatorAt(entry), table.accumulatorBytes(entry))
  }

  /** How many sessions there are in so many bytes. */
  #countIn(length: number): number {
    return length === 0 ? 0 : (length - ONE_WINDOW.startAt) / this.#sessions.strideBytes
  }

  #firstEndMs(entry: number): number {
    this.#show(entry)
    return this.#sessions.count === 0 ? Infinity : this.#sessions.endMs(0)
  }

  #addDue(entry: number, endMs: number): void {
    this.#dueEntry.view.setUint32(0, entry, true)
    this.#due.add(endMs - 1, 0, this.#dueEntry)
  }

  /** Sessions that have ended; what is due in vain is put back. */
  *#ended(watermarkMs: number): SlicedWork<EndedSessions> {
    const table = this.#table
    const place = this.#place
    const ended = new EndedSessions(table)
    const { records } = yield* this.#due.takeUnsorted(watermarkMs)
    const near = this.#near
    let count = 0
    for (let at = 0, nearUntil = 0; at < records.length; at = records.behind(at)) {
      if (++count % STEP_KEYS === 0) yield
      if (at >= nearUntil) {
        let some = 0
        for (nearUntil = at; some < NEAR_KEYS && nearUntil < records.length; some++) {
          near[some] = records.numberAt(nearUntil)
          nearUntil = records.behind(nearUntil)
        }
        table.bringEntriesNear(near, 0, some)
      }
      const entry = records.numberAt(at)
      const length = table.accumulatorBytes(entry)
      // It was moved, or is there for the second time.
      if (length < 0 || table.has(entry, IS_DEAD) || table.has(entry, IS_CLOSING)) continue
      if (length === this.#oneBytes) {
        table.show(entry, place)
        const { view, payloadAt } = place
        const endMs = view.getFloat64(payloadAt + ONE_WINDOW.endAt, true)
        if (endMs - 1 > watermarkMs) {
          this.#addDue(entry, endMs)
        } else {
          table.set(entry, IS_CLOSING, true)
          ended.push(entry, view.getFloat64(payloadAt + ONE_WINDOW.startAt, true), endMs)
        }
      } else {
        this.#endSome(entry, watermarkMs, ended)
      }
    }
    return ended
  }

  #endSome(entry: number, watermarkMs: number, ended: EndedSessions): void {
    const sessions = this.#sessions
    this.#show(entry)
    for (let i = 0; i < sessions.count; i++) {
      const endMs = sessions.endMs(i)
      if (endMs - 1 > watermarkMs) {
        this.#addDue(entry, endMs)
        return
      }
      this.#table.set(entry, IS_CLOSING, true)
      ended.push(entry, sessions.startMs(i), endMs)
    }
  }

  /** The entries of the sessions that are put out next come out of memory at the same time, where they would come one after the other. */
  #bringNear({ entries }: EndedSessions, order: Uint32Array, from: number): void {
    const near = this.#near
    const some = Math.min(NEAR_KEYS, order.length - from)
    for (let i = 0; i < some; i++) near[i] = entries[order[from + i] as number] as number
    this.#table.bringEntriesNear(near, 0, some)
  }

  #close(ended: EndedSessions, i: number): void {
    const table = this.#table
    const entry = ended.entries[i] as number
    const startMs = ended.starts[i] as number
    const endMs = ended.ends[i] as number
    let value: unknown
    if (table.accumulatorBytes(entry) === this.#oneBytes) {
      table.show(entry, this.#place)
      const { view, payloadAt } = this.#place
      value = this.#raw.result(view, payloadAt + ONE_WINDOW.accumulatorAt)
      table.setDead(entry, true)
    } else {
      const sessions = this.#sessions
      this.#show(entry)
      const place = sessions.firstEndingFrom(endMs)
      value = this.#raw.result(sessions.memory.view, sessions.accumulatorAt(place))
      sessions.setFired(place)
      this.#closing.add(entry)
    }
    table.set(entry, IS_CLOSING, false)
    table.set(entry, IS_DIRTY, true)
    this.#open--
    const reader = this.#reader.fromSlot(table.keyOf(entry, this.#shownKey))
    const key = this.#context.readKey(reader, this.#context.keyCodec, 'whole')
    this.#output.resultInSteps({
      key,
      window: { startMs, endMs },
      value,
      timestampMs: endMs - 1,
      pane: ON_TIME,
    })
  }

  /** Takes the sessions away that were put out of keys that have several. */
  #dropClosed(): void {
    const table = this.#table
    const sessions = this.#sessions
    for (const entry of this.#closing) {
      this.#show(entry)
      sessions.dropFired()
      if (sessions.count === 0) table.setDead(entry, true)
      // What is shorter stays where it is.
      else table.resizeAccumulator(entry, sessions.bytesOf(sessions.count))
    }
    this.#closing.clear()
  }

  /** Keeps the table within a constant factor of what is alive. */
  *#compact(watermarkMs: number): SlicedWork<void> {
    const table = this.#table
    if (!table.isMostlyDead(COMPACTED_SHARE)) return
    yield* table.compact()
    this.#due = new DueKeys()
    yield* this.#due.takeUnsorted(watermarkMs)
    let steps = 0
    for (let entry = table.first(); entry !== 0; entry = table.next(entry)) {
      if (++steps % STEP_KEYS === 0) yield
      if (table.has(entry, IS_DEAD)) continue
      this.#addDue(entry, this.#firstEndMs(entry))
    }
  }
}

/** Sessions that have ended, to be put out by end, start and key (W16). */
class EndedSessions implements KeyedRecords {
  readonly entries: number[] = []
  readonly starts: number[] = []
  readonly ends: number[] = []
  readonly #table: KeyTable
  #leastStartMs = Infinity
  #leastEndMs = Infinity
  #mostStartMs = -Infinity
  #mostEndMs = -Infinity

  constructor(table: KeyTable) {
    this.#table = table
  }

  push(entry: number, startMs: number, endMs: number): void {
    this.entries.push(entry)
    this.starts.push(startMs)
    this.ends.push(endMs)
    if (startMs < this.#leastStartMs) this.#leastStartMs = startMs
    if (startMs > this.#mostStartMs) this.#mostStartMs = startMs
    if (endMs < this.#leastEndMs) this.#leastEndMs = endMs
    if (endMs > this.#mostEndMs) this.#mostEndMs = endMs
  }

  *sorted(): SlicedWork<Uint32Array> {
    const order = Uint32Array.from({ length: this.entries.length }, (_, i) => i)
    const areWords =
      this.#mostStartMs - this.#leastStartMs < TWO_32 && this.#mostEndMs - this.#leastEndMs < TWO_32
    if (!areWords) return order.sort((left, right) => this.compareKeys(left, right))
    return yield* sortedByKey(this, order)
  }

  /** End and start, as words. */
  keyLengthAt(): number {
    return 8
  }

  keyWordAt(i: number, skip: number): number {
    if (skip === 0) return (this.ends[i] as number) - this.#leastEndMs
    return skip === 4 ? (this.starts[i] as number) - this.#leastStartMs : 0
  }

  compareKeys(left: number, right: number): number {
    const byEnd = (this.ends[left] as number) - (this.ends[right] as number)
    if (byEnd !== 0) return byEnd
    const byStart = (this.starts[left] as number) - (this.starts[right] as number)
    if (byStart !== 0) return byStart
    return this.#table.compareKeys(this.entries[left] as number, this.entries[right] as number)
  }
}

const TWO_32 = 2 ** 32

const ON_TIME: Pane = Object.freeze({ index: 0, kind: 'onTime', isFinal: true })

/** Nothing fires on the way, and no events are kept. */
const fires: Fire = () => {
  throw new Error('a session fired before its end')
}
const keepsNone = (): never => {
  throw new Error('events are not kept')
}

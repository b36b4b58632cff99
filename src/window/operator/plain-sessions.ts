// Sessions of which each fires once, at its end, and whose aggregate has a fixed size: most events begin a session of a key that has none,
// go on with one that it has, or join some, and that is done where they lie (session-events.ts).
//
// (1) Of each session something is in `due` that is due when it ends, or before; it names the entry, not the key. What is due in vain,
//     because the session went on, is put there again.
// (2) While an advance puts sessions out of a key that has several, they stay where they are, marked, and are taken away together.
// (3) Entries are elsewhere once the table was compacted, so `due` is made anew then, and nothing else keeps their numbers.

import type { SlicedWork } from '../../base/slices.js'
import { Slot } from '../../base/slot.js'
import { ByteReader } from '../../state/codec/bytes.js'
import { type KeyLike, plainKey } from '../../state/key/stored-key.js'
import type { StateContext } from '../../state/kinds/state-context.js'
import { openStateOf } from '../../state/store.js'
import type { RawAggregate } from '../aggregate/raw-aggregate.js'
import { rawOf } from '../aggregate/raw-aggregate.js'
import type { SessionWindows } from '../assign/by-key.js'
import type { Pane } from '../windowed.js'
import { Accumulator } from './accumulator.js'
import { EndedSessions } from './ended-sessions.js'
import { EventKey } from './event-key.js'
import { FiringFailure } from './firing-failure.js'
import { IS_DEAD, IS_DIRTY, type KeyTable, NEAR_KEYS, TableKey, TablePlace } from './key-table.js'
import { type Fire, ListedWindows } from './listed-windows.js'
import { SessionEvents } from './session-events.js'
import { SessionTable } from './session-table.js'
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

/** Of so many keys the entries are not near enough any more. */
const FAR_FROM = 65_536
/** So many keys are worked on in one step. */
const STEP_KEYS = 64
/** A session of it has ended, and is about to be put out. */
const IS_CLOSING = 16

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
  readonly #kept: SessionTable
  readonly #table: KeyTable
  readonly #stored: StoredLists
  readonly #eventKey: EventKey
  readonly #events: SessionEvents
  readonly #place = new TablePlace()
  readonly #ended: EndedSessions
  /** Entries that are needed next. */
  readonly #near = new Int32Array(NEAR_KEYS)
  /** The entries that have several sessions, of which some were put out. */
  readonly #closing = new Set<number>()
  /** The sessions of a key, where they are looked at or checked one by one. */
  readonly #list = new WindowList()
  readonly #windows: ListedWindows
  readonly #reader = new ByteReader()
  readonly #shownKey = new Slot()
  /** Nothing that fires at the moment, step by step, was due before. */
  #firingMs = Infinity

  constructor(options: WindowOperatorOptions) {
    const { windows, aggregate } = options.definition
    this.#gapMs = (windows as SessionWindows).gapMs
    this.#output = new WindowOutput(options)
    const state = openStateOf(options.store, options.name)
    this.#context = state.context
    const accumulator = new Accumulator(aggregate as unknown as ErasedAggregate)
    this.#accumulator = accumulator
    this.#raw = accumulator.raw as RawAggregate<unknown, unknown>
    const kept = new SessionTable(accumulator.zeroBytes)
    this.#kept = kept
    this.#table = kept.table
    this.#stored = new StoredLists(state, kept.table)
    const { context } = state
    const eventKey = new EventKey(context, new TableKey(), 0)
    this.#eventKey = eventKey
    this.#events = new SessionEvents({ kept, eventKey, context, accumulator, gapMs: this.#gapMs })
    this.#ended = new EndedSessions(kept.table)
    const listed = {
      windows,
      allowedLatenessMs: 0,
      everyEvents: Infinity,
      everyMs: undefined,
      refireMs: undefined,
      nowMs: options.nowMs,
      isDiscarding: false,
    }
    this.#windows = new ListedWindows(listed, this.#list, accumulator, keepsNone, fires)
  }

  get late(): LateFigures {
    return this.#output.late
  }

  get open(): number {
    return this.#kept.open
  }

  get isFar(): boolean {
    return this.#table.count >= FAR_FROM
  }

  ahead(keys: readonly unknown[], count: number): void {
    this.#eventKey.ahead(keys, count, this.#table)
  }

  add(key: KeyLike<unknown>, event: unknown, timestampMs: number, watermarkMs: number): void {
    this.#output.begin()
    if (!this.#events.add(key, event, timestampMs, watermarkMs))
      this.#onMissed(event, timestampMs, watermarkMs)
  }

  revert(): void {
    this.#output.revert()
    this.#events.revert()
  }

  *advance(watermarkMs: number): SlicedWork<void> {
    this.#firingMs = this.#kept.due.nextMs
    try {
      const ended = this.#ended
      ended.clear()
      yield* this.#findEnded(watermarkMs)
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
    yield* this.#kept.compact(watermarkMs)
  }

  *onProcessingTime(): SlicedWork<void> {}

  get nextDueMs(): number {
    return Math.min(this.#firingMs, this.#kept.due.nextMs)
  }

  peek(key: KeyLike<unknown>): AnyResult[] {
    this.#accumulator.checkShowable()
    const found: AnyResult[] = []
    const entry = this.#table.find(this.#eventKey.set(key))
    if (entry === 0 || this.#table.has(entry, IS_DEAD)) return found
    this.#load(entry)
    try {
      this.#windows.show(this.#list, (window, value, pane) => {
        found.push({ key: plainKey(key), window, value, timestampMs: window.endMs - 1, pane })
      })
    } catch (error) {
      throw this.#context.failure('read', error, key)
    }
    return found
  }

  *flush(): SlicedWork<void> {
    yield* this.#stored.flush()
  }

  *restore(watermarkMs: number): SlicedWork<void> {
    yield* this.#kept.due.takeUntil(watermarkMs)
    yield* this.#stored.restore((entry) => {
      this.#load(entry)
      for (let i = 0; i < this.#list.count; i++) {
        this.#accumulator.check(this.#list, i)
        // Of sessions that had fired and went on, under other options: nothing is told of that here.
        this.#list.setReplaces(i, [])
        this.#list.dropSince(i)
      }
      this.#save(entry)
      this.#kept.open += this.#list.count
      this.#kept.addDue(entry, this.#kept.firstEndMs(entry))
    })
  }

  #onMissed(event: unknown, timestampMs: number, watermarkMs: number): void {
    const window = { startMs: timestampMs, endMs: timestampMs + this.#gapMs }
    this.#output.missed(event, { timestampMs, watermarkMs }, [window], true)
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

  /** Sessions that have ended; what is due in vain is put back. */
  *#findEnded(watermarkMs: number): SlicedWork<void> {
    const table = this.#table
    const place = this.#place
    const ended = this.#ended
    const { count, records } = yield* this.#kept.due.takeUntil(watermarkMs)
    const { entries } = records
    for (let i = 0; i < count; i++) {
      if (i % STEP_KEYS === STEP_KEYS - 1) yield
      if (i % NEAR_KEYS === 0) table.bringEntriesNear(entries, i, Math.min(count, i + NEAR_KEYS))
      const entry = entries[i] as number
      const length = table.accumulatorBytes(entry)
      // It was moved, or is there for the second time.
      if (length < 0 || table.has(entry, IS_DEAD) || table.has(entry, IS_CLOSING)) continue
      if (length === this.#kept.oneBytes) {
        table.show(entry, place)
        const { view, payloadAt } = place
        const endMs = view.getFloat64(payloadAt + ONE_WINDOW.endAt, true)
        if (endMs - 1 > watermarkMs) {
          this.#kept.addDue(entry, endMs)
        } else {
          table.set(entry, IS_CLOSING, true)
          ended.push(entry, view.getFloat64(payloadAt + ONE_WINDOW.startAt, true), endMs)
        }
      } else {
        this.#endSome(entry, watermarkMs, ended)
      }
    }
  }

  #endSome(entry: number, watermarkMs: number, ended: EndedSessions): void {
    const sessions = this.#kept.sessions
    this.#kept.show(entry)
    for (let i = 0; i < sessions.count; i++) {
      const endMs = sessions.endMs(i)
      if (endMs - 1 > watermarkMs) {
        this.#kept.addDue(entry, endMs)
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
    const window = { startMs, endMs }
    if (table.accumulatorBytes(entry) === this.#kept.oneBytes) {
      table.show(entry, this.#place)
      const { view, payloadAt } = this.#place
      value = this.#raw.result(view, payloadAt + ONE_WINDOW.accumulatorAt)
      table.setDead(entry, true)
    } else {
      const sessions = this.#kept.sessions
      this.#kept.show(entry)
      const place = sessions.firstEndingFrom(endMs)
      value = this.#raw.result(sessions.memory.view, sessions.accumulatorAt(place))
      sessions.setFired(place)
      this.#closing.add(entry)
    }
    table.set(entry, IS_CLOSING, false)
    table.set(entry, IS_DIRTY, true)
    this.#kept.open--
    let key: unknown
    try {
      const reader = this.#reader.fromSlot(table.keyOf(entry, this.#shownKey))
      key = this.#context.readKey(reader, this.#context.keyCodec, 'whole')
      this.#output.resultInSteps({ key, window, value, timestampMs: endMs - 1, pane: ON_TIME })
    } catch (error) {
      throw FiringFailure.of(error, window, () => key)
    }
  }

  /** Takes the sessions away that were put out of keys that have several. */
  #dropClosed(): void {
    const table = this.#table
    const sessions = this.#kept.sessions
    for (const entry of this.#closing) {
      this.#kept.show(entry)
      sessions.dropFired()
      if (sessions.count === 0) table.setDead(entry, true)
      // What is shorter stays where it is.
      else table.resizeAccumulator(entry, sessions.bytesOf(sessions.count))
    }
    this.#closing.clear()
  }
}

const ON_TIME: Pane = Object.freeze({ index: 0, kind: 'onTime', isFinal: true })

/** Nothing fires on the way, and no events are kept. */
const fires: Fire = () => {
  throw new Error('a session fired before its end')
}
const keepsNone = (): never => {
  throw new Error('events are not kept')
}

// Events enter the sessions of their keys where those lie, and the last one can be taken out again.
//
// (1) What throws leaves everything as it was, but that the entry of a key that had none is there, and dead.
// (2) Of the last event, what its sessions had before is kept: all that an entry had, or what one session had, with those that were joined with it.

import { copyViewed, type ViewedBytes } from '../../base/slot.js'
import { ByteWriter } from '../../state/codec/bytes.js'
import type { KeyLike } from '../../state/key/stored-key.js'
import type { StateContext } from '../../state/kinds/state-context.js'
import type { RawAggregate } from '../aggregate/raw-aggregate.js'
import { type Accumulator, HAS_VALUE } from './accumulator.js'
import type { EventKey } from './event-key.js'
import { IS_DEAD, IS_DIRTY, type TableKey, TablePlace } from './key-table.js'
import { checkSessionEnd } from './listed-windows.js'
import type { SessionTable } from './session-table.js'
import { ONE_WINDOW } from './window-list.js'

export interface SessionEventsOptions {
  readonly kept: SessionTable
  readonly eventKey: EventKey
  readonly context: StateContext<unknown>
  readonly accumulator: Accumulator
  readonly gapMs: number
}

export class SessionEvents {
  readonly #gapMs: number
  readonly #context: StateContext<unknown>
  readonly #accumulator: Accumulator
  readonly #raw: RawAggregate<unknown, unknown>
  readonly #kept: SessionTable
  readonly #eventKey: EventKey
  readonly #place = new TablePlace()
  /** The value of an event alone, which is merged into sessions. */
  readonly #ownValue: ViewedBytes
  /** The entry that the last event has changed, and what it had; 0 where it has changed none. */
  #lastEntry = 0
  readonly #before = new ByteWriter()
  /** The session of that entry which alone has changed; -1: what it had is all of it. */
  #lastSession = -1

  constructor({ kept, eventKey, context, accumulator, gapMs }: SessionEventsOptions) {
    this.#kept = kept
    this.#eventKey = eventKey
    this.#context = context
    this.#accumulator = accumulator
    this.#raw = accumulator.raw as RawAggregate<unknown, unknown>
    this.#gapMs = gapMs
    const ownBytes = new Uint8Array(accumulator.zeroBytes)
    this.#ownValue = { bytes: ownBytes, view: new DataView(ownBytes.buffer) }
  }

  /** False where it came too late for a session of its own, and goes on with none. */
  add(key: KeyLike<unknown>, event: unknown, timestampMs: number, watermarkMs: number): boolean {
    this.#lastEntry = 0
    this.#lastSession = -1
    const table = this.#kept.table
    const place = this.#place
    const tableKey = this.#eventKey.set(key)
    const entry = table.find(tableKey)
    if (entry === 0 || table.has(entry, IS_DEAD)) {
      if (watermarkMs >= timestampMs + this.#gapMs - 1) return false
      this.#begin(entry, tableKey, key, event, timestampMs)
      return true
    }
    table.show(entry, place)
    const { view, words, flagsAt, payloadAt } = place
    const goesOn =
      table.accumulatorBytes(entry) === this.#kept.oneBytes &&
      timestampMs >= view.getFloat64(payloadAt + ONE_WINDOW.startAt, true) &&
      timestampMs <= view.getFloat64(payloadAt + ONE_WINDOW.endAt, true)
    if (!goesOn) return this.#addToSeveral(entry, key, event, timestampMs, watermarkMs)
    this.#keepBefore(place, payloadAt, this.#kept.oneBytes)
    this.#accumulator.isAdding = true
    try {
      checkSessionEnd(timestampMs, this.#gapMs)
      this.#raw.add(view, payloadAt + ONE_WINDOW.accumulatorAt, event, timestampMs, false)
    } catch (error) {
      copyViewed(this.#before, 0, this.#kept.oneBytes, place, payloadAt)
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
    return true
  }

  /** Takes the last event out again. */
  revert(): void {
    const entry = this.#lastEntry
    if (entry === 0) return
    this.#lastEntry = 0
    const table = this.#kept.table
    const { length } = this.#before
    if (this.#lastSession >= 0) {
      this.#revertOne(entry, this.#lastSession)
      return
    }
    this.#kept.open += this.#kept.countIn(length) - this.#kept.countIn(table.accumulatorBytes(entry))
    table.setDead(entry, length === 0)
    table.set(entry, IS_DIRTY, true)
    if (length === 0) return
    // What is in `due` for the sessions of before is still there: it is due when they end, or before.
    const at = table.resizeAccumulator(entry, length)
    copyViewed(this.#before, 0, length, table.memoryOf(at), table.accumulatorAt(at))
    if (at !== entry) this.#kept.addDue(at, this.#kept.firstEndMs(at))
  }

  /** The only session of a key, which has none or had one before. */
  #begin(
    entryBefore: number,
    tableKey: TableKey,
    key: KeyLike<unknown>,
    event: unknown,
    timestampMs: number,
  ): void {
    const table = this.#kept.table
    const place = this.#place
    if (entryBefore === 0) table.open(tableKey, this.#kept.oneBytes, place)
    else table.show(table.resizeAccumulator(entryBefore, this.#kept.oneBytes), place)
    const { entry, view, words, payloadAt } = place
    if (entryBefore !== 0) {
      const end = (payloadAt + this.#kept.oneBytes + 3) >> 2
      for (let at = payloadAt >> 2; at < end; at++) words[at] = 0
    }
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
    this.#kept.open++
    this.#before.length = 0
    this.#lastEntry = entry
    this.#kept.addDue(entry, timestampMs + this.#gapMs)
  }

  /** An event of a key that has several sessions, or that does not go on with its only one. */
  #addToSeveral(
    entry: number,
    key: KeyLike<unknown>,
    event: unknown,
    timestampMs: number,
    watermarkMs: number,
  ): boolean {
    const sessions = this.#kept.sessions
    this.#kept.show(entry)
    const { count } = sessions
    const i = sessions.firstEndingFrom(timestampMs)
    const goesOn = i < count && sessions.startMs(i) <= timestampMs
    const next = goesOn ? i + 1 : i
    let until = next
    while (until < count && sessions.startMs(until) - this.#gapMs <= timestampMs) until++
    if (until > next) this.#join(entry, i, until, key, event, timestampMs)
    else if (goesOn) this.#goOn(entry, i, key, event, timestampMs)
    else if (watermarkMs >= timestampMs + this.#gapMs - 1) return false
    else this.#beginOne(entry, i, key, event, timestampMs)
    return true
  }

  /** One of several sessions goes on. */
  #goOn(entry: number, i: number, key: KeyLike<unknown>, event: unknown, timestampMs: number): void {
    const sessions = this.#kept.sessions
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
    const sessions = this.#kept.sessions
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
    this.#kept.table.resizeAccumulator(entry, sessions.bytesOf(sessions.count))
    this.#kept.table.set(entry, IS_DIRTY, true)
    this.#kept.open -= joined
    this.#lastEntry = entry
    this.#lastSession = from
  }

  /** A session between those that a key has, or behind them. */
  #beginOne(entry: number, i: number, key: KeyLike<unknown>, event: unknown, timestampMs: number): void {
    const table = this.#kept.table
    const sessions = this.#kept.sessions
    const { count } = sessions
    const at = table.resizeAccumulator(entry, sessions.bytesOf(count + 1))
    sessions.show(table.memoryOf(at), table.accumulatorAt(at), sessions.bytesOf(count))
    // It is due when its first session ends, if no other one has come before that.
    if (at !== entry || i === 0)
      this.#kept.addDue(at, i === 0 ? timestampMs + this.#gapMs : sessions.endMs(0))
    sessions.open(i)
    this.#before.length = 0
    this.#addToOne(i, key, event, timestampMs, true, () => this.#closeOne(at, i))
    this.#kept.open++
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
    const sessions = this.#kept.sessions
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
    this.#kept.sessions.noteChange(i)
    this.#kept.table.set(entry, IS_DIRTY, true)
    this.#lastEntry = entry
    this.#lastSession = i
  }

  /** What the last event has made of a session is undone; what is in `due` is due when its first one ends, or before. */
  #revertOne(entry: number, i: number): void {
    this.#kept.show(entry)
    if (this.#before.length === 0) {
      this.#closeOne(entry, i)
      this.#kept.open--
      return
    }
    const joined = this.#before.length / this.#kept.sessions.strideBytes - 1
    const at = joined > 0 ? this.#divide(entry, i, joined) : entry
    this.#putBack(i)
    if (at !== entry) this.#kept.addDue(at, this.#kept.sessions.endMs(0))
  }

  /** Makes room again for sessions that the last event has joined with the one before them; returns where the entry is now. */
  #divide(entry: number, i: number, joined: number): number {
    const table = this.#kept.table
    const sessions = this.#kept.sessions
    const { count } = sessions
    const at = table.resizeAccumulator(entry, sessions.bytesOf(count + joined))
    sessions.show(table.memoryOf(at), table.accumulatorAt(at), sessions.bytesOf(count))
    for (let each = 0; each < joined; each++) sessions.open(i + 1)
    this.#kept.open += joined
    return at
  }

  /** Puts what was kept before into the place of a session, and of those behind it. */
  #putBack(i: number): void {
    const { memory } = this.#kept.sessions
    copyViewed(this.#before, 0, this.#before.length, memory, this.#kept.sessions.placeOf(i))
  }

  #closeOne(entry: number, i: number): void {
    this.#kept.sessions.close(i)
    this.#kept.table.resizeAccumulator(entry, this.#kept.sessions.bytesOf(this.#kept.sessions.count))
  }

  #keepBefore(memory: ViewedBytes, at: number, length: number): void {
    const before = this.#before
    before.length = 0
    before.reserve(length)
    copyViewed(memory, at, length, before, 0)
  }
}

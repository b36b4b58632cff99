// Some of the windows of a key, one behind the other. Numbers are little-endian.
//
//   window  := start f64 · end f64 · panes u32 · changes u32 · flags u16 · replaces u16 · length u32 · (start f64 · end f64)* · since f64? · accumulator
//
// (1) `since` is there where the flag says so: once a window has waited, it stays.

import { copyViewed, type ViewedBytes } from '../../base/slot.js'
import { ByteWriter } from '../../state/codec/bytes.js'
import { CodecError } from '../../state/codec/codec-error.js'

/** What every window takes, whatever it replaces and has accumulated. */
export const WINDOW_BYTES = 32
export const END_AT = 8
export const PANES_AT = 16
export const CHANGES_AT = 20
export const FLAGS_AT = 24
export const REPLACES_AT = 26
export const LENGTH_AT = 28
export const REPLACED_BYTES = 16
export const SINCE_BYTES = 8

/** A page that has more windows, or more bytes and several windows, is divided. */
export const PAGE_WINDOWS = 64
export const PAGE_BYTES = 16_384

/** It has fired at its end. */
export const FIRED_ON_TIME = 1
/** It fires when a processing time has come. */
export const IS_AWAITED = 2
/** It has when it began to wait. */
export const HAS_SINCE = 8

/** How long a window waits until it is told of, by the processing clock: before its end, and after it. */
export interface Waits {
  readonly earlyMs: number
  readonly lateMs: number
}

/** Windows in the order of their list. Whoever changes one says that they are not summed any more. */
export class WindowPage {
  readonly writer: ByteWriter
  /** The list that may change it: others have it, too, and only read it. */
  readonly owner: object
  count = 0
  /** Where each window begins. */
  readonly places: number[]
  /** What is known of all of them together is still so. */
  isSummed = false
  #leastOpenEndMs: number | undefined
  #leastFiredEndMs: number | undefined
  /** Since when those wait that wait for longest. */
  #openSinceMs = Infinity
  #firedSinceMs = Infinity

  constructor(owner: object, from?: WindowPage) {
    this.owner = owner
    if (from === undefined) {
      this.writer = new ByteWriter()
      this.places = []
      return
    }
    const { length } = from.writer
    this.writer = new ByteWriter(length + WINDOW_BYTES)
    this.writer.reserve(length)
    copyViewed(from.writer, 0, length, this.writer, 0)
    this.places = from.places.slice(0, from.count)
    this.count = from.count
  }

  clear(): void {
    this.writer.length = 0
    this.count = 0
    this.isSummed = false
  }

  at(n: number): number {
    return this.places[n] as number
  }

  startMs(n: number): number {
    return this.writer.view.getFloat64(this.at(n), true)
  }

  endMs(n: number): number {
    return this.writer.view.getFloat64(this.at(n) + END_AT, true)
  }

  /** Whether it starts, or ends, before this one. */
  isBefore(n: number, startMs: number, endMs: number): boolean {
    const start = this.startMs(n)
    return start < startMs || (start === startMs && this.endMs(n) < endMs)
  }

  has(n: number, flag: number): boolean {
    return (this.writer.view.getUint16(this.at(n) + FLAGS_AT, true) & flag) !== 0
  }

  /** The least end of those that have fired at their end, or have not; `undefined` where there is none. */
  leastEndMs(hasFired: boolean): number | undefined {
    this.#sum()
    return hasFired ? this.#leastFiredEndMs : this.#leastOpenEndMs
  }

  /** When the first of them fires that waits for a processing time; `Infinity` where none does. */
  nextAwaitedMs({ earlyMs, lateMs }: Waits): number {
    this.#sum()
    return Math.min(this.#openSinceMs + earlyMs, this.#firedSinceMs + lateMs)
  }

  /** Whether it waits for a processing time, and that has come. */
  isAwaitedAt(n: number, { earlyMs, lateMs }: Waits, nowMs: number): boolean {
    if (!this.has(n, IS_AWAITED)) return false
    return this.sinceMs(n) + (this.has(n, FIRED_ON_TIME) ? lateMs : earlyMs) <= nowMs
  }

  /** When the first event has entered it that was not told of; where there is none, or an earlier version has not noted it, for ever. */
  sinceMs(n: number): number {
    const { view } = this.writer
    const at = this.at(n)
    if (!this.has(n, HAS_SINCE) || view.getUint32(at + CHANGES_AT, true) === 0) return -Infinity
    return view.getFloat64(sinceAt(view, at), true)
  }

  /** Copies as many windows as have room in a page from a value that ends at `end`, and returns where the next one begins. */
  load(memory: ViewedBytes, from: number, end: number): number {
    const { view } = memory
    this.clear()
    let at = from
    while (at < end && this.count < PAGE_WINDOWS && (this.count === 0 || at - from < PAGE_BYTES)) {
      if (at + WINDOW_BYTES > end) throw new CodecError('windows that are cut off')
      if (!isTime(view.getFloat64(at, true)) || !isTime(view.getFloat64(at + END_AT, true))) {
        throw new CodecError('a window whose start or end is no time')
      }
      this.places[this.count++] = at - from
      at = behind(view, at)
    }
    if (at > end) throw new CodecError('windows that are cut off')
    this.writer.reserve(at - from)
    copyViewed(memory, from, at - from, this.writer, 0)
    return at
  }

  /** Puts a window there, with an accumulator of so many bytes, which are zeros. */
  insert(n: number, startMs: number, endMs: number, accumulatorBytes: number): void {
    const { writer } = this
    const length = WINDOW_BYTES + accumulatorBytes
    const before = writer.length
    const at = n < this.count ? this.at(n) : before
    writer.reserve(length)
    if (at < before) writer.bytes.copyWithin(at + length, at, before)
    writer.bytes.fill(0, at, at + length)
    for (let i = this.count; i > n; i--) this.places[i] = this.at(i - 1) + length
    this.places[n] = at
    this.count++
    writer.view.setFloat64(at, startMs, true)
    writer.view.setFloat64(at + END_AT, endMs, true)
    writer.view.setUint32(at + LENGTH_AT, accumulatorBytes, true)
    this.isSummed = false
  }

  remove(n: number): void {
    const { writer } = this
    const at = this.at(n)
    const length = behind(writer.view, at) - at
    writer.bytes.copyWithin(at, at + length, writer.length)
    writer.length -= length
    this.count--
    for (let i = n; i < this.count; i++) this.places[i] = this.at(i + 1) - length
    this.isSummed = false
  }

  /** Makes a part of a window longer or shorter. */
  resize(n: number, start: number, before: number, after: number): void {
    const { writer } = this
    const difference = after - before
    const end = writer.length
    if (difference > 0) writer.reserve(difference)
    writer.bytes.copyWithin(start + after, start + before, end)
    writer.length = end + difference
    for (let i = n + 1; i < this.count; i++) this.places[i] = this.at(i) + difference
  }

  /** Adds the windows of another page, from one of them on, behind its own. */
  append(other: WindowPage, from: number): void {
    const first = other.at(from)
    const length = other.writer.length - first
    const to = this.writer.reserve(length)
    copyViewed(other.writer, first, length, this.writer, to)
    for (let i = from; i < other.count; i++) this.places[this.count++] = to + other.at(i) - first
    this.isSummed = false
  }

  /** Takes all windows away from this one on. */
  cut(from: number): void {
    this.writer.length = this.at(from)
    this.count = from
    this.isSummed = false
  }

  #sum(): void {
    if (this.isSummed) return
    this.#leastOpenEndMs = undefined
    this.#leastFiredEndMs = undefined
    this.#openSinceMs = Infinity
    this.#firedSinceMs = Infinity
    for (let n = 0; n < this.count; n++) {
      const endMs = this.endMs(n)
      const hasFired = this.has(n, FIRED_ON_TIME)
      if (hasFired) this.#leastFiredEndMs = Math.min(this.#leastFiredEndMs ?? endMs, endMs)
      else this.#leastOpenEndMs = Math.min(this.#leastOpenEndMs ?? endMs, endMs)
      if (!this.has(n, IS_AWAITED)) continue
      if (hasFired) this.#firedSinceMs = Math.min(this.#firedSinceMs, this.sinceMs(n))
      else this.#openSinceMs = Math.min(this.#openSinceMs, this.sinceMs(n))
    }
    this.isSummed = true
  }
}

/** Where a window has when it began to wait, if it has. */
export const sinceAt = (view: DataView, at: number): number =>
  at + WINDOW_BYTES + view.getUint16(at + REPLACES_AT, true) * REPLACED_BYTES

/** Where the accumulator of a window begins. */
export const accumulatorAt = (view: DataView, at: number): number =>
  sinceAt(view, at) + ((view.getUint16(at + FLAGS_AT, true) & HAS_SINCE) === 0 ? 0 : SINCE_BYTES)

/** Where the window behind this one begins. */
const behind = (view: DataView, at: number): number =>
  accumulatorAt(view, at) + view.getUint32(at + LENGTH_AT, true)

/** A whole millisecond, or beyond all of them. */
const isTime = (timeMs: number): boolean => Number.isSafeInteger(timeMs) || Math.abs(timeMs) === Infinity

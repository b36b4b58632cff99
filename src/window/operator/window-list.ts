// The open windows of one key, as one value of the store. Numbers are little-endian.
//
//   windows := next u32 · window*      (window-page.ts)
//
// (1) Windows are in the order of their starts, then of their ends.
// (2) The end of a window that only ends with the stream is +Infinity.
// (3) In memory they lie in pages. No page is empty, but for the only one of a list without windows.
// (4) A list and what was forked from it have pages in common, which neither of them changes: it copies one first.

import { copyViewed, type ViewedBytes } from '../../base/slot.js'
import { ByteReader } from '../../state/codec/bytes.js'
import type { Codec } from '../../state/codec/codec.js'
import { CodecError } from '../../state/codec/codec-error.js'
import type { TimeWindow } from '../assign/assigner.js'
import { type AccumulatorMemory, HAS_VALUE } from './accumulator.js'
import {
  accumulatorAt,
  CHANGES_AT,
  END_AT,
  FIRED_ON_TIME,
  FLAGS_AT,
  HAS_SINCE,
  LENGTH_AT,
  PAGE_BYTES,
  PAGE_WINDOWS,
  PANES_AT,
  REPLACED_BYTES,
  REPLACES_AT,
  SINCE_BYTES,
  sinceAt,
  type Waits,
  WINDOW_BYTES,
  WindowPage,
} from './window-page.js'

const HEAD_BYTES = 4
/** What the form has room for. */
const MAX_REPLACED = 0xffff
const NONE: readonly TimeWindow[] = []

/** Where things are in a value that has one window, which replaces none: for whoever changes it where it lies. */
export const ONE_WINDOW: {
  readonly startAt: number
  readonly endAt: number
  readonly changesAt: number
  readonly flagsAt: number
  readonly lengthAt: number
  readonly accumulatorAt: number
} = Object.freeze({
  startAt: HEAD_BYTES,
  endAt: HEAD_BYTES + 8,
  changesAt: HEAD_BYTES + CHANGES_AT,
  flagsAt: HEAD_BYTES + FLAGS_AT,
  lengthAt: HEAD_BYTES + LENGTH_AT,
  accumulatorAt: HEAD_BYTES + WINDOW_BYTES,
})

/** The windows of one key, read from their bytes and changed in them. */
export class WindowList implements AccumulatorMemory {
  /** The number of the next event that is kept. */
  nextNumber = 0
  /** Pages of this owner may be changed. */
  #owner: object = {}
  #pages: WindowPage[]
  #count = 0
  /** The page at hand, its place, and how many windows are before it. */
  #page: WindowPage
  #number = 0
  #first = 0

  constructor(from?: WindowList) {
    this.#pages = from === undefined ? [new WindowPage(this.#owner)] : from.#pages.slice()
    this.#page = this.#pages[0] as WindowPage
    if (from === undefined) return
    this.nextNumber = from.nextNumber
    this.#count = from.#count
    from.#owner = {}
  }

  get count(): number {
    return this.#count
  }

  /** Whether they are too many, or too long, to be copied for each event: `fork` copies none. */
  get isLarge(): boolean {
    return this.#pages.length > 1
  }

  /** Begins with no window. */
  clear(): void {
    this.nextNumber = 0
    this.#count = 0
    let page = this.#pages[0] as WindowPage
    if (page.owner === this.#owner) page.clear()
    else page = new WindowPage(this.#owner)
    if (this.#pages.length > 1 || page !== this.#page) this.#pages = [page]
    this.#page = page
    this.#number = 0
    this.#first = 0
  }

  /** Copies the windows of a value, of which `length` bytes are in this memory from `offset`. */
  load(memory: ViewedBytes, offset: number, length: number): void {
    this.clear()
    if (length < HEAD_BYTES) throw new CodecError(`${length} bytes, which are no windows`)
    const end = offset + length
    this.nextNumber = memory.view.getUint32(offset, true)
    let page = this.#page
    let at = page.load(memory, offset + HEAD_BYTES, end)
    this.#count = page.count
    while (at < end) {
      page = new WindowPage(this.#owner)
      this.#pages.push(page)
      at = page.load(memory, at, end)
      this.#count += page.count
    }
  }

  /** A list of the same windows: what is changed in one of the two is not in the other. Takes as long as it has pages. */
  fork(): WindowList {
    return new WindowList(this)
  }

  /** How many bytes the value has. */
  get length(): number {
    if (!this.isLarge) return HEAD_BYTES + this.#page.writer.length
    let length = HEAD_BYTES
    for (const { writer } of this.#pages) length += writer.length
    return length
  }

  /** Writes the value. */
  copyTo(memory: ViewedBytes, offset: number): void {
    memory.view.setUint32(offset, this.nextNumber, true)
    let at = offset + HEAD_BYTES
    if (!this.isLarge) {
      const { writer } = this.#page
      copyViewed(writer, 0, writer.length, memory, at)
      return
    }
    for (const { writer } of this.#pages) {
      copyViewed(writer, 0, writer.length, memory, at)
      at += writer.length
    }
  }

  startMs(i: number): number {
    const at = this.#at(i)
    return this.#page.writer.view.getFloat64(at, true)
  }

  endMs(i: number): number {
    const at = this.#at(i)
    return this.#page.writer.view.getFloat64(at + END_AT, true)
  }

  setInterval(i: number, startMs: number, endMs: number): void {
    const at = this.#change(i)
    const { view } = this.#page.writer
    view.setFloat64(at, startMs, true)
    view.setFloat64(at + END_AT, endMs, true)
  }

  /** How many results it has given. */
  panes(i: number): number {
    const at = this.#at(i)
    return this.#page.writer.view.getUint32(at + PANES_AT, true)
  }

  setPanes(i: number, panes: number): void {
    const at = this.#change(i)
    this.#page.writer.view.setUint32(at + PANES_AT, panes, true)
  }

  /** How many events have entered it since its last result. */
  changes(i: number): number {
    const at = this.#at(i)
    return this.#page.writer.view.getUint32(at + CHANGES_AT, true)
  }

  setChanges(i: number, changes: number): void {
    const at = this.#change(i)
    this.#page.writer.view.setUint32(at + CHANGES_AT, Math.min(changes, 0xffffffff), true)
  }

  /** One event more has entered it. */
  noteEntered(i: number): void {
    const at = this.#change(i) + CHANGES_AT
    const { view } = this.#page.writer
    view.setUint32(at, Math.min(view.getUint32(at, true) + 1, 0xffffffff), true)
  }

  has(i: number, flag: number): boolean {
    const at = this.#at(i)
    return (this.#page.writer.view.getUint16(at + FLAGS_AT, true) & flag) !== 0
  }

  set(i: number, flag: number, value: boolean): void {
    const at = this.#change(i) + FLAGS_AT
    const { view } = this.#page.writer
    const flags = view.getUint16(at, true)
    view.setUint16(at, value ? flags | flag : flags & ~flag, true)
  }

  /** When the first event has entered it that was not told of, where that is noted; otherwise for ever. */
  sinceMs(i: number): number {
    this.#at(i)
    return this.#page.sinceMs(i - this.#first)
  }

  setSinceMs(i: number, sinceMs: number): void {
    const at = this.#change(i)
    const page = this.#page
    const start = sinceAt(page.writer.view, at)
    const hasRoom = this.has(i, HAS_SINCE)
    if (!hasRoom) {
      page.resize(i - this.#first, start, 0, SINCE_BYTES)
      this.set(i, HAS_SINCE, true)
    }
    page.writer.view.setFloat64(start, sinceMs, true)
    if (!hasRoom) this.#divideIfFull()
  }

  /** It has no room for that any more. */
  dropSince(i: number): void {
    if (!this.has(i, HAS_SINCE)) return
    const at = this.#change(i)
    this.#page.resize(i - this.#first, sinceAt(this.#page.writer.view, at), SINCE_BYTES, 0)
    this.set(i, HAS_SINCE, false)
  }

  /** Windows whose results this one's next result takes the place of. */
  replaces(i: number): readonly TimeWindow[] {
    const at = this.#at(i)
    const { view } = this.#page.writer
    const length = view.getUint16(at + REPLACES_AT, true)
    if (length === 0) return NONE
    const from = at + WINDOW_BYTES
    return Array.from({ length }, (_, n) => ({
      startMs: view.getFloat64(from + n * REPLACED_BYTES, true),
      endMs: view.getFloat64(from + n * REPLACED_BYTES + 8, true),
    }))
  }

  setReplaces(i: number, windows: readonly TimeWindow[]): void {
    const at = this.#at(i)
    const before = this.#page.writer.view.getUint16(at + REPLACES_AT, true)
    if (before > 0 || windows.length > 0) this.#replace(i, before, windows)
  }

  #replace(i: number, before: number, windows: readonly TimeWindow[]): void {
    if (windows.length > MAX_REPLACED) {
      throw new CodecError(`a session that replaces the results of more than ${MAX_REPLACED} others`)
    }
    const at = this.#change(i)
    const start = at + WINDOW_BYTES
    const page = this.#page
    page.resize(i - this.#first, start, before * REPLACED_BYTES, windows.length * REPLACED_BYTES)
    const { view } = page.writer
    view.setUint16(at + REPLACES_AT, windows.length, true)
    windows.forEach(({ startMs, endMs }, n) => {
      view.setFloat64(start + n * REPLACED_BYTES, startMs, true)
      view.setFloat64(start + n * REPLACED_BYTES + 8, endMs, true)
    })
    this.#divideIfFull()
  }

  /** Where the accumulator of a window lies, which may be changed there. */
  memoryOf(i: number): ViewedBytes {
    this.#change(i)
    return this.#page.writer
  }

  /** Where it begins in that memory. */
  accumulatorAt(i: number): number {
    const at = this.#at(i)
    return accumulatorAt(this.#page.writer.view, at)
  }

  accumulatorBytes(i: number): number {
    const at = this.#at(i)
    return this.#page.writer.view.getUint32(at + LENGTH_AT, true)
  }

  /** Makes room for an accumulator of so many bytes; what was there of it is anything. */
  resizeAccumulator(i: number, length: number): number {
    const before = this.accumulatorBytes(i)
    if (before === length) return i
    const at = this.#change(i)
    this.#page.resize(i - this.#first, this.accumulatorAt(i), before, length)
    this.#page.writer.view.setUint32(at + LENGTH_AT, length, true)
    this.#divideIfFull()
    return i
  }

  /** The place of the first window that does not start, or end, before this one. */
  placeOf(startMs: number, endMs: number): number {
    if (this.isLarge) this.#toPageWhere((page) => !page.isBefore(page.count - 1, startMs, endMs))
    const page = this.#page
    let n = 0
    while (n < page.count && page.isBefore(n, startMs, endMs)) n++
    return this.#first + n
  }

  /** The first window that does not end before a time, of windows whose ends are in the order of their starts. */
  firstEndingFrom(timeMs: number): number {
    if (this.isLarge) this.#toPageWhere((page) => page.endMs(page.count - 1) >= timeMs)
    const page = this.#page
    let n = 0
    while (n < page.count && page.endMs(n) < timeMs) n++
    return this.#first + n
  }

  isAt(i: number, startMs: number, endMs: number): boolean {
    return i < this.#count && this.startMs(i) === startMs && this.endMs(i) === endMs
  }

  /** The least end of the windows that have fired at their end, or have not; `undefined` where there is none. */
  leastEndMs(hasFired: boolean): number | undefined {
    let leastMs: number | undefined
    for (const page of this.#pages) {
      const endMs = page.leastEndMs(hasFired)
      if (endMs !== undefined && (leastMs === undefined || endMs < leastMs)) leastMs = endMs
    }
    return leastMs
  }

  /** The first window from `from` on that has fired at its end, or has not, and ends at this time or before; `count` where there is none. */
  nextEnding(from: number, hasFired: boolean, untilMs: number): number {
    for (let i = from; i < this.#count; ) {
      this.#at(i)
      const page = this.#page
      const first = this.#first
      const leastMs = this.isLarge ? page.leastEndMs(hasFired) : -Infinity
      if (leastMs !== undefined && leastMs <= untilMs) {
        for (let n = i - first; n < page.count; n++) {
          if (page.endMs(n) <= untilMs && page.has(n, FIRED_ON_TIME) === hasFired) return first + n
        }
      }
      i = first + page.count
    }
    return this.#count
  }

  /** The first window from `from` on that waits for a processing time which has come; `count` where there is none. */
  nextAwaited(from: number, waits: Waits, nowMs: number): number {
    for (let i = from; i < this.#count; ) {
      this.#at(i)
      const page = this.#page
      const first = this.#first
      if (!this.isLarge || page.nextAwaitedMs(waits) <= nowMs) {
        for (let n = i - first; n < page.count; n++) if (page.isAwaitedAt(n, waits, nowMs)) return first + n
      }
      i = first + page.count
    }
    return this.#count
  }

  /** When the first of the windows fires that wait for a processing time; `Infinity` where none does. */
  nextAwaitedMs(waits: Waits): number {
    let nextMs = Infinity
    for (const page of this.#pages) nextMs = Math.min(nextMs, page.nextAwaitedMs(waits))
    return nextMs
  }

  /** Puts a window there, with an accumulator of so many bytes, which are zeros. */
  insert(i: number, startMs: number, endMs: number, accumulatorBytes: number): void {
    if (this.#count === 0) this.#open()
    else this.#change(Math.min(i, this.#count - 1))
    this.#page.insert(i - this.#first, startMs, endMs, accumulatorBytes)
    this.#count++
    this.#divideIfFull()
  }

  remove(i: number): void {
    this.#change(i)
    const page = this.#page
    page.remove(i - this.#first)
    this.#count--
    if (page.count === 0 && this.#pages.length > 1) {
      this.#pages.splice(this.#number, 1)
      this.#toPage(0)
      return
    }
    if (this.isLarge && !this.#joins(this.#number)) this.#joins(this.#number - 1)
  }

  /** The first page for which this holds, as it does for all behind it, becomes the one at hand; otherwise the last one. */
  #toPageWhere(isIt: (page: WindowPage) => boolean): void {
    let low = 0
    let high = this.#pages.length - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if (isIt(this.#pages[middle] as WindowPage)) high = middle
      else low = middle + 1
    }
    this.#toPage(low)
  }

  /** Where a window begins in its page, which becomes the one at hand. */
  #at(i: number): number {
    const n = i - this.#first
    return n >= 0 && n < this.#page.count ? (this.#page.places[n] as number) : this.#seek(i)
  }

  /** The same of a window that is not in the page at hand. */
  #seek(i: number): number {
    let page = this.#page
    while (i < this.#first) {
      page = this.#pages[--this.#number] as WindowPage
      this.#first -= page.count
    }
    while (i >= this.#first + page.count) {
      this.#first += page.count
      page = this.#pages[++this.#number] as WindowPage
    }
    this.#page = page
    return page.places[i - this.#first] as number
  }

  /** The same of a window that is to be changed. */
  #change(i: number): number {
    const at = this.#at(i)
    if (this.#page.isSummed || this.#page.owner !== this.#owner) this.#open()
    return at
  }

  /** The page at hand may be changed. */
  #open(): void {
    if (this.#page.owner !== this.#owner) {
      this.#page = new WindowPage(this.#owner, this.#page)
      this.#pages[this.#number] = this.#page
    }
    this.#page.isSummed = false
  }

  #divideIfFull(): void {
    const page = this.#page
    if (page.count <= PAGE_WINDOWS && (page.writer.length <= PAGE_BYTES || page.count === 1)) return
    const half = page.count >> 1
    const behind = new WindowPage(this.#owner)
    behind.append(page, half)
    page.cut(half)
    this.#pages.splice(this.#number + 1, 0, behind)
  }

  /** Joins a page with the next one, where both are small. */
  #joins(number: number): boolean {
    const page = this.#pages[number]
    const next = this.#pages[number + 1]
    if (page === undefined || next === undefined) return false
    if (page.count + next.count > PAGE_WINDOWS / 2) return false
    if (page.writer.length + next.writer.length > PAGE_BYTES / 2) return false
    this.#toPage(number)
    this.#open()
    this.#page.append(next, 0)
    this.#pages.splice(number + 1, 1)
    return true
  }

  #toPage(number: number): void {
    this.#number = number
    this.#page = this.#pages[number] as WindowPage
    this.#first = 0
    for (let before = 0; before < number; before++) this.#first += (this.#pages[before] as WindowPage).count
  }
}

/** An open window as tools see it. */
export interface StoredWindow {
  readonly startMs: number
  readonly endMs: number
  readonly panes: number
  /** `undefined` where the events are kept, and where all that was added has been put out by a discarding result. */
  readonly accumulator: unknown
}

/** The codec of a state of windows: for tools, which read it. A program with another descriptor cannot go on with them. */
export function windowListCodec(
  accumulator: Codec<unknown> | undefined,
  description: { readonly windows: string },
): Codec<readonly StoredWindow[]> {
  const list = new WindowList()
  const reader = new ByteReader()
  return Object.freeze({
    descriptor: { ...description, accumulator: accumulator?.descriptor ?? 'none' },
    fixedBytes: undefined,
    isOpenEnded: true,
    write: () => {
      throw new CodecError('windows are written by their operator')
    },
    read: (from: ByteReader) => {
      const start = from.take(from.rest())
      list.load(from, start, from.position - start)
      return Array.from({ length: list.count }, (_, i) => {
        reader.fromBytes(list.memoryOf(i).bytes, list.accumulatorAt(i))
        reader.end = reader.position + list.accumulatorBytes(i)
        return {
          startMs: list.startMs(i),
          endMs: list.endMs(i),
          panes: list.panes(i),
          // Behind a discarding result there may be nothing, in no form.
          accumulator:
            list.has(i, HAS_VALUE) || list.accumulatorBytes(i) > 0 ? accumulator?.read(reader) : undefined,
        }
      })
    },
  })
}

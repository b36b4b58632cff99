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
  CHANGES_AT,
  FIRED_ON_TIME,
  FLAGS_AT,
  IS_AWAITED,
  LENGTH_AT,
  PAGE_BYTES,
  PAGE_WINDOWS,
  PANES_AT,
  REPLACED_BYTES,
  REPLACES_AT,
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
    this.#beginWith(this.#emptyPage())
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
    let length = HEAD_BYTES
    for (const { writer } of this.#pages) length += writer.length
    return length
  }

  /** Writes the value. */
  copyTo(memory: ViewedBytes, offset: number): void {
    memory.view.setUint32(offset, this.nextNumber, true)
    let at = offset + HEAD_BYTES
    for (const { writer } of this.#pages) {
      copyViewed(writer, 0, writer.length, memory, at)
      at += writer.length
    }
  }

  startMs(i: number): number {
    return this.#pageOf(i).startMs(i - this.#first)
  }

  endMs(i: number): number {
    return this.#pageOf(i).endMs(i - this.#first)
  }

  setInterval(i: number, startMs: number, endMs: number): void {
    this.#changed(i).setInterval(i - this.#first, startMs, endMs)
  }

  /** How many results it has given. */
  panes(i: number): number {
    return this.#pageOf(i).writer.view.getUint32(this.#at(i) + PANES_AT, true)
  }

  setPanes(i: number, panes: number): void {
    this.#changed(i).writer.view.setUint32(this.#at(i) + PANES_AT, panes, true)
  }

  /** How many events have entered it since its last result. */
  changes(i: number): number {
    return this.#pageOf(i).writer.view.getUint32(this.#at(i) + CHANGES_AT, true)
  }

  setChanges(i: number, changes: number): void {
    this.#changed(i).writer.view.setUint32(this.#at(i) + CHANGES_AT, Math.min(changes, 0xffffffff), true)
  }

  has(i: number, flag: number): boolean {
    return this.#pageOf(i).has(i - this.#first, flag)
  }

  set(i: number, flag: number, value: boolean): void {
    const { view } = this.#changed(i).writer
    const at = this.#at(i) + FLAGS_AT
    const flags = view.getUint16(at, true)
    view.setUint16(at, value ? flags | flag : flags & ~flag, true)
  }

  /** Windows whose results this one's next result takes the place of. */
  replaces(i: number): readonly TimeWindow[] {
    const { view } = this.#pageOf(i).writer
    const length = this.#replacedCount(i)
    if (length === 0) return NONE
    const at = this.#at(i) + WINDOW_BYTES
    return Array.from({ length }, (_, n) => ({
      startMs: view.getFloat64(at + n * REPLACED_BYTES, true),
      endMs: view.getFloat64(at + n * REPLACED_BYTES + 8, true),
    }))
  }

  setReplaces(i: number, windows: readonly TimeWindow[]): void {
    const before = this.#replacedCount(i) * REPLACED_BYTES
    if (before === 0 && windows.length === 0) return
    if (windows.length > MAX_REPLACED) {
      throw new CodecError(`a session that replaces the results of more than ${MAX_REPLACED} others`)
    }
    const page = this.#changed(i)
    const start = this.#at(i) + WINDOW_BYTES
    page.resize(i - this.#first, start, before, windows.length * REPLACED_BYTES)
    const { view } = page.writer
    view.setUint16(this.#at(i) + REPLACES_AT, windows.length, true)
    windows.forEach(({ startMs, endMs }, n) => {
      view.setFloat64(start + n * REPLACED_BYTES, startMs, true)
      view.setFloat64(start + n * REPLACED_BYTES + 8, endMs, true)
    })
    this.#divideIfFull()
  }

  /** Where the accumulator of a window lies, which may be changed there. */
  memoryOf(i: number): ViewedBytes {
    return this.#changed(i).writer
  }

  /** Where it begins in that memory. */
  accumulatorAt(i: number): number {
    return this.#at(i) + WINDOW_BYTES + this.#replacedCount(i) * REPLACED_BYTES
  }

  accumulatorBytes(i: number): number {
    return this.#pageOf(i).writer.view.getUint32(this.#at(i) + LENGTH_AT, true)
  }

  /** Makes room for an accumulator of so many bytes; what was there of it is anything. */
  resizeAccumulator(i: number, length: number): number {
    const before = this.accumulatorBytes(i)
    if (before === length) return i
    const page = this.#changed(i)
    page.resize(i - this.#first, this.accumulatorAt(i), before, length)
    page.writer.view.setUint32(this.#at(i) + LENGTH_AT, length, true)
    this.#divideIfFull()
    return i
  }

  /** The place of the first window that does not start, or end, before this one. */
  placeOf(startMs: number, endMs: number): number {
    const isBehind = (page: WindowPage, n: number) => {
      const start = page.startMs(n)
      return start > startMs || (start === startMs && page.endMs(n) >= endMs)
    }
    if (this.isLarge) this.#toPageWhere((page) => isBehind(page, page.count - 1))
    const page = this.#page
    let n = 0
    while (n < page.count && !isBehind(page, n)) n++
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
      const page = this.#pageOf(i)
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

  /** The first window from `from` on that fires when a processing time has come; `count` where there is none. */
  nextAwaited(from: number): number {
    for (let i = from; i < this.#count; ) {
      const page = this.#pageOf(i)
      const first = this.#first
      if (!this.isLarge || page.hasAwaited) {
        for (let n = i - first; n < page.count; n++) if (page.has(n, IS_AWAITED)) return first + n
      }
      i = first + page.count
    }
    return this.#count
  }

  /** Puts a window there, with an accumulator of so many bytes, which are zeros. */
  insert(i: number, startMs: number, endMs: number, accumulatorBytes: number): void {
    const page = this.#count === 0 ? this.#changedPage() : this.#changed(Math.min(i, this.#count - 1))
    page.insert(i - this.#first, startMs, endMs, accumulatorBytes)
    this.#count++
    this.#divideIfFull()
  }

  remove(i: number): void {
    const page = this.#changed(i)
    page.remove(i - this.#first)
    this.#count--
    if (page.count === 0 && this.#pages.length > 1) {
      this.#pages.splice(this.#number, 1)
      this.#toPage(0)
      return
    }
    if (!this.#joins(this.#number)) this.#joins(this.#number - 1)
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

  /** The page of a window becomes the one at hand. */
  #pageOf(i: number): WindowPage {
    let page = this.#page
    if (i >= this.#first && i < this.#first + page.count) return page
    while (i < this.#first) {
      page = this.#pages[--this.#number] as WindowPage
      this.#first -= page.count
    }
    while (i >= this.#first + page.count) {
      this.#first += page.count
      page = this.#pages[++this.#number] as WindowPage
    }
    this.#page = page
    return page
  }

  /** The same, to be changed. */
  #changed(i: number): WindowPage {
    this.#pageOf(i)
    return this.#changedPage()
  }

  #changedPage(): WindowPage {
    if (this.#page.owner !== this.#owner) {
      this.#page = new WindowPage(this.#owner, this.#page)
      this.#pages[this.#number] = this.#page
    }
    this.#page.noteChange()
    return this.#page
  }

  #at(i: number): number {
    return this.#pageOf(i).at(i - this.#first)
  }

  #replacedCount(i: number): number {
    return this.#pageOf(i).writer.view.getUint16(this.#at(i) + REPLACES_AT, true)
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
    this.#changedPage().append(next, 0)
    this.#pages.splice(number + 1, 1)
    return true
  }

  #toPage(number: number): void {
    this.#number = number
    this.#page = this.#pages[number] as WindowPage
    this.#first = 0
    for (let before = 0; before < number; before++) this.#first += (this.#pages[before] as WindowPage).count
  }

  /** One that is this list's own. */
  #emptyPage(): WindowPage {
    const [page] = this.#pages
    if (page === undefined || page.owner !== this.#owner) return new WindowPage(this.#owner)
    page.clear()
    return page
  }

  #beginWith(page: WindowPage): void {
    if (this.#pages.length === 1) this.#pages[0] = page
    else this.#pages = [page]
    this.#count = 0
    this.#toPage(0)
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

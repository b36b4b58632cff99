// The open windows of one key, as one value of the store. Numbers are little-endian.
//
//   windows := next u32 · window*
//   window  := start f64 · end f64 · panes u32 · changes u32 · flags u16 · replaces u16 · length u32 · (start f64 · end f64)* · accumulator
//
// (1) Windows are in the order of their starts, then of their ends.
// (2) The end of a window that only ends with the stream is +Infinity.

import { copyViewed, type ViewedBytes } from '../../base/slot.js'
import { ByteReader, ByteWriter } from '../../state/codec/bytes.js'
import type { Codec } from '../../state/codec/codec.js'
import { CodecError } from '../../state/codec/codec-error.js'
import type { TimeWindow } from '../assign/assigner.js'
import { type AccumulatorMemory, HAS_VALUE } from './accumulator.js'

const HEAD_BYTES = 4
const WINDOW_BYTES = 32
const REPLACED_BYTES = 16
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
  changesAt: HEAD_BYTES + 20,
  flagsAt: HEAD_BYTES + 24,
  lengthAt: HEAD_BYTES + 28,
  accumulatorAt: HEAD_BYTES + WINDOW_BYTES,
})

/** It has fired at its end. */
export const FIRED_ON_TIME = 1
/** It fires when a processing time has come. */
export const IS_AWAITED = 2

/** The windows of one key, read from their bytes and changed in them. */
export class WindowList implements AccumulatorMemory {
  readonly writer: ByteWriter = new ByteWriter()
  /** Where each one begins. */
  readonly #places: number[] = []
  #count = 0

  constructor() {
    this.clear()
  }

  get bytes(): Uint8Array {
    return this.writer.bytes
  }

  memoryOf(): ViewedBytes {
    return this.writer
  }

  get count(): number {
    return this.#count
  }

  /** Begins with no window. */
  clear(): void {
    this.writer.length = 0
    this.#count = 0
    const at = this.writer.reserve(HEAD_BYTES)
    this.writer.view.setUint32(at, 0, true)
  }

  /** Copies the windows of a value, of which `length` bytes are in this memory from `offset`. */
  load(memory: ViewedBytes, offset: number, length: number): void {
    const { writer } = this
    writer.length = 0
    writer.reserve(length)
    copyViewed(memory, offset, length, writer, 0)
    this.#count = 0
    if (length < HEAD_BYTES) throw new CodecError(`${length} bytes, which are no windows`)
    let at = HEAD_BYTES
    while (at < length) {
      if (at + WINDOW_BYTES > length) throw new CodecError('windows that are cut off')
      this.#places[this.#count++] = at
      if (!isTime(this.startMs(this.#count - 1)) || !isTime(this.endMs(this.#count - 1))) {
        throw new CodecError('a window whose start or end is no time')
      }
      at = this.#behind(at)
    }
    if (at !== length) throw new CodecError('windows that are cut off')
  }

  /** The number of the next event that is kept. */
  get nextNumber(): number {
    return this.writer.view.getUint32(0, true)
  }

  set nextNumber(number: number) {
    this.writer.view.setUint32(0, number, true)
  }

  startMs(i: number): number {
    return this.writer.view.getFloat64(this.#at(i), true)
  }

  endMs(i: number): number {
    return this.writer.view.getFloat64(this.#at(i) + 8, true)
  }

  setInterval(i: number, startMs: number, endMs: number): void {
    const at = this.#at(i)
    this.writer.view.setFloat64(at, startMs, true)
    this.writer.view.setFloat64(at + 8, endMs, true)
  }

  /** How many results it has given. */
  panes(i: number): number {
    return this.writer.view.getUint32(this.#at(i) + 16, true)
  }

  setPanes(i: number, panes: number): void {
    this.writer.view.setUint32(this.#at(i) + 16, panes, true)
  }

  /** How many events have entered it since its last result. */
  changes(i: number): number {
    return this.writer.view.getUint32(this.#at(i) + 20, true)
  }

  setChanges(i: number, changes: number): void {
    this.writer.view.setUint32(this.#at(i) + 20, Math.min(changes, 0xffffffff), true)
  }

  has(i: number, flag: number): boolean {
    return (this.writer.view.getUint16(this.#at(i) + 24, true) & flag) !== 0
  }

  set(i: number, flag: number, value: boolean): void {
    const at = this.#at(i) + 24
    const flags = this.writer.view.getUint16(at, true)
    this.writer.view.setUint16(at, value ? flags | flag : flags & ~flag, true)
  }

  /** Windows whose results this one's next result takes the place of. */
  replaces(i: number): readonly TimeWindow[] {
    const { view } = this.writer
    const at = this.#at(i) + WINDOW_BYTES
    const length = this.#replacedCount(this.#at(i))
    if (length === 0) return NONE
    return Array.from({ length }, (_, n) => ({
      startMs: view.getFloat64(at + n * REPLACED_BYTES, true),
      endMs: view.getFloat64(at + n * REPLACED_BYTES + 8, true),
    }))
  }

  setReplaces(i: number, windows: readonly TimeWindow[]): void {
    const before = this.#replacedCount(this.#at(i)) * REPLACED_BYTES
    if (before === 0 && windows.length === 0) return
    if (windows.length > MAX_REPLACED) {
      throw new CodecError(`a session that replaces the results of more than ${MAX_REPLACED} others`)
    }
    const start = this.#at(i) + WINDOW_BYTES
    this.#resize(i, start, before, windows.length * REPLACED_BYTES)
    const { view } = this.writer
    view.setUint16(this.#at(i) + 26, windows.length, true)
    windows.forEach(({ startMs, endMs }, n) => {
      view.setFloat64(start + n * REPLACED_BYTES, startMs, true)
      view.setFloat64(start + n * REPLACED_BYTES + 8, endMs, true)
    })
  }

  /** Where the accumulator lies in the writer's bytes. */
  accumulatorAt(i: number): number {
    const at = this.#at(i)
    return at + WINDOW_BYTES + this.#replacedCount(at) * REPLACED_BYTES
  }

  accumulatorBytes(i: number): number {
    return this.writer.view.getUint32(this.#at(i) + 28, true)
  }

  /** Makes room for an accumulator of so many bytes; what was there of it is anything. */
  resizeAccumulator(i: number, length: number): number {
    const start = this.accumulatorAt(i)
    const before = this.accumulatorBytes(i)
    if (before !== length) {
      this.#resize(i, start, before, length)
      this.writer.view.setUint32(this.#at(i) + 28, length, true)
    }
    return i
  }

  /** The place of the first window that does not start, or end, before this one. */
  placeOf(startMs: number, endMs: number): number {
    let i = 0
    while (i < this.#count) {
      const start = this.startMs(i)
      if (start > startMs || (start === startMs && this.endMs(i) >= endMs)) break
      i++
    }
    return i
  }

  isAt(i: number, startMs: number, endMs: number): boolean {
    return i < this.#count && this.startMs(i) === startMs && this.endMs(i) === endMs
  }

  /** Puts a window there, with an accumulator of so many bytes, which are zeros. */
  insert(i: number, startMs: number, endMs: number, accumulatorBytes: number): void {
    const { writer } = this
    const length = WINDOW_BYTES + accumulatorBytes
    const at = i < this.#count ? this.#at(i) : writer.length
    const before = writer.length
    writer.reserve(length)
    if (at < before) writer.bytes.copyWithin(at + length, at, before)
    writer.bytes.fill(0, at, at + length)
    for (let n = this.#count; n > i; n--) this.#places[n] = (this.#places[n - 1] as number) + length
    this.#places[i] = at
    this.#count++
    this.setInterval(i, startMs, endMs)
    writer.view.setUint32(at + 28, accumulatorBytes, true)
  }

  remove(i: number): void {
    const { writer } = this
    const at = this.#at(i)
    const length = this.#behind(at) - at
    writer.bytes.copyWithin(at, at + length, writer.length)
    writer.length -= length
    this.#count--
    for (let n = i; n < this.#count; n++) this.#places[n] = (this.#places[n + 1] as number) - length
  }

  #resize(i: number, start: number, before: number, after: number): void {
    const { writer } = this
    const difference = after - before
    const end = writer.length
    if (difference > 0) writer.reserve(difference)
    writer.bytes.copyWithin(start + after, start + before, end)
    writer.length = end + difference
    for (let n = i + 1; n < this.#count; n++) this.#places[n] = (this.#places[n] as number) + difference
  }

  #at(i: number): number {
    return this.#places[i] as number
  }

  #replacedCount(at: number): number {
    return this.writer.view.getUint16(at + 26, true)
  }

  #behind(at: number): number {
    return (
      at + WINDOW_BYTES + this.#replacedCount(at) * REPLACED_BYTES + this.writer.view.getUint32(at + 28, true)
    )
  }
}

/** A whole millisecond, or beyond all of them. */
const isTime = (timeMs: number): boolean => Number.isSafeInteger(timeMs) || Math.abs(timeMs) === Infinity

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
        reader.fromBytes(list.bytes, list.accumulatorAt(i))
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

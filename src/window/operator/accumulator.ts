import { Slot } from '../../base/slot.js'
import { ByteReader, ByteWriter } from '../../state/codec/bytes.js'
import type { Codec } from '../../state/codec/codec.js'
import { isStruct, type StructCodec } from '../../state/codec/struct.js'
import type { Aggregate } from '../aggregate/aggregate.js'
import { type RawAggregate, rawOf } from '../aggregate/raw-aggregate.js'
import { HAS_VALUE, readAccumulator, showAccumulator, WindowList } from './window-list.js'

/** Works on the accumulators of a list of windows, where they lie. */
export class Accumulator {
  readonly codec: Codec<unknown, unknown>
  readonly #aggregate: Aggregate<unknown, unknown, unknown>
  readonly #struct: StructCodec<unknown> | undefined
  readonly #slot = new Slot()
  readonly #view: unknown
  readonly #otherSlot = new Slot()
  readonly #otherView: unknown
  /** Works on the bytes themselves. */
  readonly #raw: RawAggregate<unknown, unknown> | undefined
  readonly #reader = new ByteReader()
  readonly #written = new ByteWriter()

  constructor(aggregate: Aggregate<unknown, unknown, unknown>) {
    this.#aggregate = aggregate
    this.codec = aggregate.codec
    this.#struct = isStruct(this.codec) ? this.codec : undefined
    this.#raw = rawOf(aggregate)
    this.#view = this.#struct?.viewOf(this.#slot, 'change')
    this.#otherView = this.#struct?.viewOf(this.#otherSlot, 'read')
  }

  get canMerge(): boolean {
    return this.#aggregate.merge !== undefined
  }

  /** What an accumulator takes before anything was added, where that is zeros. */
  get zeroBytes(): number {
    return this.#struct?.fixedBytes ?? 0
  }

  /** Begins anew: nothing was added yet. */
  reset(list: WindowList, i: number): void {
    const length = this.zeroBytes
    const at = list.resizeAccumulator(i, length)
    list.writer.bytes.fill(0, at, at + length)
    list.set(i, HAS_VALUE, false)
    const { first } = this.#aggregate
    if (first !== undefined && this.#struct !== undefined) this.#write(list, i, first())
  }

  add(list: WindowList, i: number, event: unknown, timestampMs: number): void {
    const { add, first } = this.#aggregate
    const isFirst = !list.has(i, HAS_VALUE)
    if (isFirst) list.set(i, HAS_VALUE, true)
    if (this.#raw !== undefined) {
      this.#raw.add(list.writer.view, list.accumulatorAt(i), event, timestampMs, isFirst)
      return
    }
    if (this.#struct !== undefined) {
      showAccumulator(list, i, this.#slot)
      const made = add(this.#view, event, timestampMs)
      if (made !== undefined) this.#write(list, i, made)
      return
    }
    const current = isFirst ? first?.() : this.read(list, i)
    this.#write(list, i, add(current, event, timestampMs))
  }

  /** Merges the accumulator of one window into that of another one, which may be of another list. Nothing is added to nothing. */
  merge(list: WindowList, into: number, from: WindowList, fromPlace: number): void {
    const { merge } = this.#aggregate
    if (merge === undefined) throw new Error('the aggregate has no merge')
    if (!from.has(fromPlace, HAS_VALUE)) return
    if (!list.has(into, HAS_VALUE)) {
      this.copy(list, into, from, fromPlace)
      return
    }
    if (this.#raw !== undefined) {
      this.#raw.merge(
        list.writer.view,
        list.accumulatorAt(into),
        from.writer.view,
        from.accumulatorAt(fromPlace),
      )
      return
    }
    let made: unknown
    if (this.#struct === undefined) {
      made = merge(this.read(list, into), this.read(from, fromPlace))
    } else {
      showAccumulator(list, into, this.#slot)
      showAccumulator(from, fromPlace, this.#otherSlot)
      made = merge(this.#view, this.#otherView)
    }
    if (made !== undefined) this.#write(list, into, made)
  }

  /** Copies the accumulator of a window of another list. */
  copy(list: WindowList, i: number, from: WindowList, fromPlace: number): void {
    const length = from.accumulatorBytes(fromPlace)
    const at = list.resizeAccumulator(i, length)
    // Behind the resizing: it may be a window of the same list.
    const start = from.accumulatorAt(fromPlace)
    const { bytes } = from.writer
    for (let n = 0; n < length; n++) list.writer.bytes[at + n] = bytes[start + n] as number
    list.set(i, HAS_VALUE, from.has(fromPlace, HAS_VALUE))
  }

  read(list: WindowList, i: number): unknown {
    return readAccumulator(list, i, this.codec, this.#reader)
  }

  /** What a window comes to. */
  result(list: WindowList, i: number): unknown {
    if (this.#raw !== undefined) return this.#raw.result(list.writer.view, list.accumulatorAt(i))
    const { result } = this.#aggregate
    if (result === undefined) return this.read(list, i)
    if (this.#struct === undefined) return result(this.read(list, i))
    showAccumulator(list, i, this.#otherSlot)
    return result(this.#otherView)
  }

  /** What a window of these events comes to. */
  fold(events: readonly unknown[], timestamps: readonly number[]): unknown {
    const list = new WindowList()
    list.insert(0, 0, 0, this.zeroBytes)
    this.reset(list, 0)
    events.forEach((event, i) => this.add(list, 0, event, timestamps[i] as number))
    return this.result(list, 0)
  }

  #write(list: WindowList, i: number, value: unknown): void {
    const written = this.#written
    written.length = 0
    this.codec.write(value, written)
    const at = list.resizeAccumulator(i, written.length)
    list.writer.bytes.set(written.bytes.subarray(0, written.length), at)
  }
}

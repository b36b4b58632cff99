import { MAX_VALUE_BYTES } from '../../base/limits.js'
import { invalidArgument } from '../../base/options.js'
import { copyViewed, Slot, type ViewedBytes } from '../../base/slot.js'
import { ByteReader, ByteWriter } from '../../state/codec/bytes.js'
import type { Codec } from '../../state/codec/codec.js'
import { CodecError, codecErrorOf } from '../../state/codec/codec-error.js'
import { isStruct, type StructCodec } from '../../state/codec/struct.js'
import { checkValueLength } from '../../state/entries/state-entries.js'
import type { Aggregate } from '../aggregate/aggregate.js'
import { type BytesWork, bytesWorkOf, isAppended } from '../aggregate/bytes-aggregate.js'
import { type RawAggregate, rawOf } from '../aggregate/raw-aggregate.js'

/** Something was added to an accumulator. */
export const HAS_VALUE = 4

/** Memory in which accumulators lie, each known by a number. */
export interface AccumulatorMemory {
  /** The memory that one lies in. */
  memoryOf(i: number): ViewedBytes
  accumulatorAt(i: number): number
  accumulatorBytes(i: number): number
  /** Makes room for so many bytes; returns the number by which it is known from now on. */
  resizeAccumulator(i: number, length: number): number
  has(i: number, flag: number): boolean
  set(i: number, flag: number, value: boolean): void
}

interface AddedEvent {
  readonly event: unknown
  readonly timestampMs: number
  readonly isFirst: boolean
}

/** Works on accumulators where they lie. What changes one returns the number by which it is known then. */
export class Accumulator {
  readonly codec: Codec<unknown, unknown>
  /** What an accumulator takes before anything was added: zeros. */
  readonly zeroBytes: number
  readonly #aggregate: Aggregate<unknown, unknown, unknown>
  readonly #struct: StructCodec<unknown> | undefined
  readonly #slot = new Slot()
  readonly #view: unknown
  readonly #otherSlot = new Slot()
  readonly #otherView: unknown
  /** Works on the bytes themselves; `undefined` for aggregates that do not. */
  readonly raw: RawAggregate<unknown, unknown> | undefined
  /** Works on bytes that grow; `undefined` for aggregates that do not. */
  readonly #work: BytesWork<unknown, unknown> | undefined
  /** An event is being added: whoever asks for what windows have at the moment would be shown half of it. */
  isAdding = false
  /** What throws while it is added changes nothing, and the last `add` can be taken out again by `undoAdd`. */
  readonly undoes: boolean
  readonly #reader = new ByteReader()
  readonly #written = new ByteWriter()
  /** How long the accumulator was before the last `add`; what it was, where it was written anew. */
  #lengthBefore = 0
  #wasReplaced = false
  readonly #replaced = new ByteWriter()

  readonly #maxBytes: number

  /** @param maxBytes how many bytes one may have that is to be stored. */
  constructor(aggregate: Aggregate<unknown, unknown, unknown>, maxBytes: number = MAX_VALUE_BYTES) {
    this.#aggregate = aggregate
    this.#maxBytes = maxBytes
    this.codec = aggregate.codec
    this.#struct = isStruct(this.codec) ? this.codec : undefined
    this.raw = rawOf(aggregate)
    this.#work = this.raw === undefined ? bytesWorkOf(aggregate) : undefined
    this.undoes = this.#work?.leavesBytes === true
    this.zeroBytes = this.codec.fixedBytes ?? 0
    this.#view = this.#struct?.viewOf(this.#slot, 'change')
    this.#otherView = this.#struct?.viewOf(this.#otherSlot, 'read')
  }

  /** Begins anew: nothing was added yet. */
  reset(memory: AccumulatorMemory, i: number): number {
    const length = this.zeroBytes
    const at = memory.resizeAccumulator(i, length)
    const start = memory.accumulatorAt(at)
    memory.memoryOf(at).bytes.fill(0, start, start + length)
    memory.set(at, HAS_VALUE, false)
    return at
  }

  /** What throws may have changed the accumulator, but not its size. */
  add(memory: AccumulatorMemory, i: number, event: unknown, timestampMs: number): number {
    const isFirst = !memory.has(i, HAS_VALUE)
    if (this.raw !== undefined) {
      this.raw.add(memory.memoryOf(i).view, memory.accumulatorAt(i), event, timestampMs, isFirst)
      if (isFirst) memory.set(i, HAS_VALUE, true)
      return i
    }
    const { add, first } = this.#aggregate
    let at = i
    if (this.#work !== undefined) {
      at = this.#addBytes(this.#work, memory, i, { event, timestampMs, isFirst })
    } else if (this.#struct === undefined) {
      const current = isFirst ? first?.() : this.read(memory, i)
      at = this.#write(memory, i, add(current, event, timestampMs), this.#maxBytes)
    } else {
      if (isFirst && first !== undefined) at = this.#write(memory, at, first())
      showAccumulator(memory, at, this.#slot)
      const made = add(this.#view, event, timestampMs)
      if (made !== undefined) at = this.#write(memory, at, made, this.#maxBytes)
    }
    if (isFirst) memory.set(at, HAS_VALUE, true)
    return at
  }

  /** Refuses to show windows from within the functions of their own aggregate. */
  checkShowable(): void {
    if (this.isAdding)
      throw invalidArgument('peek', 'cannot be called from within the aggregate of the windows')
  }

  /** Merges one accumulator into another one, which may be in other memory. Nothing is merged into nothing. */
  merge(memory: AccumulatorMemory, into: number, from: AccumulatorMemory, place: number): number {
    if (!from.has(place, HAS_VALUE)) return into
    if (!memory.has(into, HAS_VALUE)) return this.copy(memory, into, from, place)
    if (this.raw !== undefined) {
      const { view } = memory.memoryOf(into)
      this.raw.merge(view, memory.accumulatorAt(into), from.memoryOf(place).view, from.accumulatorAt(place))
      return into
    }
    const { merge } = this.#aggregate
    if (merge === undefined) throw new Error('the aggregate has no merge')
    if (this.#struct === undefined) {
      return this.#write(memory, into, merge(this.read(memory, into), this.read(from, place)))
    }
    showAccumulator(memory, into, this.#slot)
    showAccumulator(from, place, this.#otherSlot)
    const made = merge(this.#view, this.#otherView)
    return made === undefined ? into : this.#write(memory, into, made)
  }

  /** Copies an accumulator from other memory, or from elsewhere in this one. */
  copy(memory: AccumulatorMemory, i: number, from: AccumulatorMemory, place: number): number {
    const length = from.accumulatorBytes(place)
    const at = memory.resizeAccumulator(i, length)
    // Behind the resizing: it may be in the same memory.
    const start = from.accumulatorAt(place)
    copyViewed(from.memoryOf(place), start, length, memory.memoryOf(at), memory.accumulatorAt(at))
    memory.set(at, HAS_VALUE, from.has(place, HAS_VALUE))
    return at
  }

  read(memory: AccumulatorMemory, i: number): unknown {
    const slot = this.#otherSlot
    showAccumulator(memory, i, slot)
    const reader = this.#reader.fromSlot(slot)
    try {
      const value = this.codec.read(reader)
      reader.assertEnd()
      return value
    } catch (error) {
      throw codecErrorOf(error, 'read')
    }
  }

  /** Throws where the bytes, which come from the store, are not those of an accumulator. */
  check(memory: AccumulatorMemory, i: number): void {
    // Behind a discarding result there may be nothing, in no form.
    if (!memory.has(i, HAS_VALUE) && memory.accumulatorBytes(i) === this.zeroBytes) return
    const raw = this.raw
    if (raw === undefined) {
      const accumulator = this.read(memory, i)
      this.#work?.check(accumulator as Uint8Array)
      return
    }
    // It works on the bytes as they are, whatever their length is.
    if (memory.accumulatorBytes(i) !== this.zeroBytes) {
      throw new CodecError(`${memory.accumulatorBytes(i)} bytes instead of ${this.zeroBytes}`)
    }
    raw.check?.(memory.memoryOf(i).view, memory.accumulatorAt(i))
  }

  /** What a window comes to. */
  result(memory: AccumulatorMemory, i: number): unknown {
    if (this.raw !== undefined) return this.raw.result(memory.memoryOf(i).view, memory.accumulatorAt(i))
    const { result } = this.#aggregate
    if (result === undefined) return this.read(memory, i)
    if (this.#struct === undefined) return result(this.read(memory, i))
    showAccumulator(memory, i, this.#otherSlot)
    return result(this.#otherView)
  }

  /** Most often they are changed where they lie: what keeps much is not copied for each event. */
  #addBytes(
    work: BytesWork<unknown, unknown>,
    memory: AccumulatorMemory,
    i: number,
    { event, timestampMs, isFirst }: AddedEvent,
  ): number {
    const start = memory.accumulatorAt(i)
    const { bytes } = memory.memoryOf(i)
    const current = isFirst ? undefined : bytes.subarray(start, start + memory.accumulatorBytes(i))
    const made = work.add(current, event, timestampMs)
    const lengthBefore = memory.accumulatorBytes(i)
    this.#lengthBefore = lengthBefore
    this.#wasReplaced = false
    if (made === current) return i
    if (isAppended(made)) return this.#append(memory, i, made.bytes)
    if (this.undoes) {
      const replaced = this.#replaced
      this.#wasReplaced = true
      replaced.length = 0
      replaced.reserve(lengthBefore)
      copyViewed(memory.memoryOf(i), start, lengthBefore, replaced, 0)
    }
    return this.#write(memory, i, made, this.#maxBytes)
  }

  /** What is there is not copied, but for where it must move: then it gets room to grow. */
  #append(memory: AccumulatorMemory, i: number, bytes: Uint8Array): number {
    const length = memory.accumulatorBytes(i)
    checkValueLength(length + bytes.length, this.#maxBytes)
    const at = memory.resizeAccumulator(i, length + bytes.length)
    memory.memoryOf(at).bytes.set(bytes, memory.accumulatorAt(at) + length)
    return at
  }

  /** Takes the last event out again; only directly behind `add`, where `undoes` says so. */
  undoAdd(memory: AccumulatorMemory, i: number): number {
    const at = memory.resizeAccumulator(i, this.#lengthBefore)
    if (this.#wasReplaced) {
      const { bytes } = this.#replaced
      memory.memoryOf(at).bytes.set(bytes.subarray(0, this.#lengthBefore), memory.accumulatorAt(at))
    }
    return at
  }

  /** @param most how many bytes it may have: what is merged for a result alone is not stored. */
  #write(memory: AccumulatorMemory, i: number, value: unknown, most = Infinity): number {
    const written = this.#written
    written.length = 0
    try {
      this.codec.write(value, written)
      checkValueLength(written.length, most)
    } catch (error) {
      throw codecErrorOf(error, 'write')
    }
    const at = memory.resizeAccumulator(i, written.length)
    const start = memory.accumulatorAt(at)
    copyViewed(written, 0, written.length, memory.memoryOf(at), start)
    return at
  }
}

/** Shows an accumulator where it lies. */
function showAccumulator(memory: AccumulatorMemory, i: number, slot: Slot): void {
  const { bytes, view } = memory.memoryOf(i)
  slot.bytes = bytes
  slot.view = view
  slot.offset = memory.accumulatorAt(i)
  slot.length = memory.accumulatorBytes(i)
}

// A batch is one growing buffer of operations, so that filling it costs copies of bytes and no objects:
//
//   batch     := operation*
//   operation := kind u16 · keyLength u16 · valueLength u32 · ttlMs f64 · key · value
//
// Numbers are little-endian. A delete has no value. An `expect` of absence has kind EXPECT_ABSENT.
// ttlMs is NaN where the put named none (the backend's default holds), Infinity for "never expires".
// A DELETE_RANGE has the first key of the range as its key and the first key after it as its value; where there is none, because
// the range has no upper end, ttlMs is Infinity.

import { brandClass, hasBrand, isLocalBytes } from '../base/shapes.js'
import { isStretch, type Stretch } from '../base/slot.js'
import { EVERYTHING, isEmptyInterval, type KeyInterval, keyStretch } from './scan-range.js'
import type { KeyRange, PutOptions } from './types.js'
import {
  validateKey,
  validateKeyOrStretch,
  validatePutOptions,
  validateValue,
  validateValueOrStretch,
} from './validate.js'

/** What an operation of a batch is, for an engine that walks through one. */
export const OperationKind = {
  PUT: 1,
  DELETE: 2,
  EXPECT_VALUE: 3,
  EXPECT_ABSENT: 4,
  DELETE_RANGE: 5,
} as const
export type OperationKind = (typeof OperationKind)[keyof typeof OperationKind]

const HEADER_BYTES = 16
const INITIAL_BYTES = 1_024
const NO_TTL = Number.NaN
const EMPTY = new Uint8Array(0)
/** A stretch without a key. */
const NO_KEYS = { from: EMPTY, until: EMPTY }

/** Of the batches of every copy of this package. The number changes when `BatchCursor` does: engines read a batch through it. */
const WRITE_BATCH = Symbol.for('holdfast.WriteBatch.2')

/**
 * Writes that apply wholly or not at all, in the order they were added (the last one to a key wins).
 * Expectations are checked first, all of them, against the state before the batch.
 *
 * Keys and values are copied when they are added. A batch may be written more than once and, after `clear()`, refilled.
 *
 * @example
 * await backend.write(new WriteBatch().expect(key, seen).put(key, next).delete(other))
 */
export class WriteBatch {
  static {
    brandClass(WriteBatch, WRITE_BATCH)
  }

  #bytes = new Uint8Array(INITIAL_BYTES)
  #view: DataView = new DataView(this.#bytes.buffer)
  #end = 0
  #size = 0
  #deletesRanges = false
  #expects = false

  /** How many operations were added, expectations included. */
  get size(): number {
    return this.#size
  }

  /** Whether a `deleteRange` is among them: an engine that orders its keys on demand has to order them first. */
  get deletesRanges(): boolean {
    return this.#deletesRanges
  }

  /** Bytes that the operations take in this batch: keys, values and 16 bytes for each. */
  get byteLength(): number {
    return this.#end
  }

  /**
   * Adds a put. Key and value may be stretches of larger buffers, as keys may be elsewhere. Throws `INVALID_ARGUMENT` for keys,
   * values or options that no backend takes.
   */
  put(key: Uint8Array | Stretch, value: Uint8Array | Stretch, options?: PutOptions): this {
    validateKeyOrStretch(key)
    validateValueOrStretch(value)
    validatePutOptions(options)
    return this.#append(OperationKind.PUT, key, value, options?.ttlMs ?? NO_TTL)
  }

  /** Adds a delete. Deleting what is not there is no error. */
  delete(key: Uint8Array | Stretch): this {
    validateKeyOrStretch(key)
    return this.#append(OperationKind.DELETE, key, EMPTY, NO_TTL)
  }

  /**
   * Adds the removal of every key that is in a range when it is its turn: those that were there before the batch, and those
   * that the batch has put before; what it puts later stays. Counts as one delete.
   *
   * @example
   * batch.put(result, sum).deleteRange({ prefix: window }) // the window goes when its result is there, and not before
   */
  deleteRange(range: KeyRange): this {
    const interval = keyStretch(range)
    const { from, until = EMPTY } = isEmptyInterval(interval) ? NO_KEYS : interval
    this.#deletesRanges = true
    return this.#append(
      OperationKind.DELETE_RANGE,
      from,
      until,
      interval.until === undefined ? Infinity : NO_TTL,
    )
  }

  /**
   * Makes the batch conditional: before it, `key` must hold exactly `value`, or nothing where `value` is `undefined`.
   * Otherwise the write throws `CONCURRENT_MODIFICATION` with the key, and nothing is applied.
   */
  expect(key: Uint8Array, value: Uint8Array | undefined): this {
    validateKey(key)
    this.#expects = true
    if (value === undefined) return this.#append(OperationKind.EXPECT_ABSENT, key, EMPTY, NO_TTL)
    validateValue(value)
    return this.#append(OperationKind.EXPECT_VALUE, key, value, NO_TTL)
  }

  /** Removes all operations and keeps the memory for the next ones. */
  clear(): this {
    this.#end = 0
    this.#size = 0
    this.#deletesRanges = false
    this.#expects = false
    return this
  }

  /** A batch of the same operations with memory of its own. */
  copy(): WriteBatch {
    const copy = new WriteBatch()
    copy.#bytes = this.#bytes.slice(0, Math.max(this.#end, INITIAL_BYTES))
    copy.#view = new DataView(copy.#bytes.buffer)
    copy.#end = this.#end
    copy.#size = this.#size
    copy.#deletesRanges = this.#deletesRanges
    copy.#expects = this.#expects
    return copy
  }

  /** For engines: a cursor before the first operation. It reads this batch's own memory: do not add while reading. */
  cursor(): BatchCursor {
    return new BatchCursor(this.#bytes, this.#view, this.#end, this.#expects)
  }

  #append(kind: OperationKind, key: Uint8Array | Stretch, value: Uint8Array | Stretch, ttlMs: number): this {
    const start = this.#end
    const end = start + HEADER_BYTES + key.length + value.length
    if (end > this.#bytes.length) this.#grow(end)
    const view = this.#view
    view.setUint16(start, kind, true)
    view.setUint16(start + 2, key.length, true)
    view.setUint32(start + 4, value.length, true)
    view.setFloat64(start + 8, ttlMs, true)
    copyTo(this.#bytes, start + HEADER_BYTES, key)
    copyTo(this.#bytes, start + HEADER_BYTES + key.length, value)
    this.#end = end
    this.#size++
    return this
  }

  #grow(neededBytes: number): void {
    const bytes = new Uint8Array(Math.max(neededBytes, this.#bytes.length * 2))
    bytes.set(this.#bytes.subarray(0, this.#end))
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer)
  }
}

/** Below this length a loop beats the built-in copy, which needs a view of a stretch. */
const LOOP_COPY_BYTES = 64

function copyTo(bytes: Uint8Array, at: number, from: Uint8Array | Stretch): void {
  const isWhole = isLocalBytes(from) || !isStretch(from)
  const source = isWhole ? from : from.bytes
  const offset = isWhole ? 0 : from.offset
  const { length } = from
  if (length <= LOOP_COPY_BYTES) for (let i = 0; i < length; i++) bytes[at + i] = source[offset + i] as number
  else bytes.set(isWhole ? source : source.subarray(offset, offset + length), at)
}

/** Whether an operation removes keys: one, or a range of them. */
export function isDelete(kind: OperationKind): boolean {
  return kind === OperationKind.DELETE || kind === OperationKind.DELETE_RANGE
}

/** Whether a value is a {@link WriteBatch}, also of another copy of this package. */
export function isWriteBatch(value: unknown): value is WriteBatch {
  return hasBrand(value, WRITE_BATCH)
}

/**
 * Walks the operations of a batch without making an object for each: `next()` moves on and sets the fields.
 * Key and value are stretches of `bytes`, valid while the batch is not changed.
 */
export class BatchCursor {
  readonly bytes: Uint8Array
  /** Whether expectations may be among the operations. */
  readonly expects: boolean
  readonly #view: DataView
  readonly #end: number
  #position = 0

  kind: OperationKind = OperationKind.PUT
  keyStart = 0
  keyLength = 0
  valueStart = 0
  valueLength = 0
  /** The put's own time to live in milliseconds; `undefined` where the backend's default holds. */
  ttlMs: number | undefined = undefined

  constructor(bytes: Uint8Array, view: DataView, end: number, expects = true) {
    this.bytes = bytes
    this.expects = expects
    this.#view = view
    this.#end = end
  }

  /** Moves to the next operation; false when there is none. */
  next(): boolean {
    const start = this.#position
    if (start >= this.#end) return false
    const view = this.#view
    const ttlMs = view.getFloat64(start + 8, true)
    this.kind = view.getUint16(start, true) as OperationKind
    this.keyLength = view.getUint16(start + 2, true)
    this.valueLength = view.getUint32(start + 4, true)
    this.ttlMs = Number.isNaN(ttlMs) ? undefined : ttlMs
    this.keyStart = start + HEADER_BYTES
    this.valueStart = this.keyStart + this.keyLength
    this.#position = this.valueStart + this.valueLength
    return true
  }

  /** The keys that a `DELETE_RANGE` removes, with bytes of their own. */
  interval(): KeyInterval {
    const until = this.ttlMs === undefined ? this.value().slice() : undefined
    return { ...EVERYTHING, from: this.key().slice(), until }
  }

  /** Goes back before the first operation. */
  rewind(): this {
    this.#position = 0
    return this
  }

  /** The current key, as a view of the batch's memory. */
  key(): Uint8Array {
    return this.bytes.subarray(this.keyStart, this.valueStart)
  }

  /** The current value, as a view of the batch's memory. */
  value(): Uint8Array {
    return this.bytes.subarray(this.valueStart, this.valueStart + this.valueLength)
  }
}

// What codecs write to and read from: one growing buffer that is used again and again, and a stretch of somebody's memory.

import { isUtf8 as isWholeUtf8 } from 'node:buffer'
import { MAX_VALUE_BYTES } from '../../base/limits.js'
import type { Slot } from '../../base/slot.js'
import { CodecError } from './codec-error.js'

const INITIAL_BYTES = 256

/** Bytes that a value becomes. The memory is kept from one value to the next, so that writing allocates nothing. */
export class ByteWriter {
  bytes: Buffer
  view: DataView
  /** Bytes written so far; the next one goes here. */
  length = 0

  constructor(initialBytes: number = INITIAL_BYTES) {
    this.bytes = Buffer.alloc(initialBytes)
    this.view = viewOf(this.bytes)
  }

  /** Makes room for `count` bytes and moves on behind them; returns where they begin. */
  reserve(count: number): number {
    const start = this.length
    const end = start + count
    if (end > this.bytes.length) this.#grow(end)
    this.length = end
    return start
  }

  uint8(value: number): void {
    const start = this.reserve(1)
    this.bytes[start] = value
  }

  uint32(value: number): void {
    const start = this.reserve(4)
    this.view.setUint32(start, value, true)
  }

  append(bytes: Uint8Array): void {
    const start = this.reserve(bytes.length)
    this.bytes.set(bytes, start)
  }

  /** UTF-8; a lone surrogate is refused, because it would come back as another character (K2). */
  text(text: string): void {
    const { length } = text
    // A UTF-16 unit takes three bytes at most. Short texts in a loop: a native call costs more than they do.
    const start = this.reserve(length * 3)
    this.length = start + (length <= SHORT_TEXT ? this.#shortText(text, start) : this.#longText(text, start))
  }

  /** What was written, as a copy of its own. */
  copy(): Uint8Array {
    const { bytes, length } = this
    const copy = new Uint8Array(length)
    if (length > SHORT_COPY_BYTES) copy.set(bytes.subarray(0, length))
    else for (let i = 0; i < length; i++) copy[i] = bytes[i] as number
    return copy
  }

  #shortText(text: string, start: number): number {
    const { bytes } = this
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i)
      if (unit >= 0x80) return this.#longText(text, start)
      bytes[start + i] = unit
    }
    return text.length
  }

  #longText(text: string, start: number): number {
    if (LONE_SURROGATE.test(text)) {
      throw new CodecError('a string with a lone surrogate, which UTF-8 cannot express')
    }
    return this.bytes.write(text, start)
  }

  #grow(neededBytes: number): void {
    // Three bytes are reserved for each unit of a text before it is known how many it takes.
    if (neededBytes > 4 * MAX_VALUE_BYTES) throw new CodecError(`more than ${MAX_VALUE_BYTES} bytes`)
    const bytes = Buffer.alloc(Math.max(neededBytes, this.bytes.length * 2))
    this.bytes.copy(bytes, 0, 0, this.length)
    this.bytes = bytes
    this.view = viewOf(bytes)
  }
}

const SHORT_TEXT = 48
/** Up to this length a loop is done before a view of what is to be copied would be made. */
const SHORT_COPY_BYTES = 64
/** With the flag `u`, pairs are one character: what is left of this category stands alone. */
const LONE_SURROGATE = /\p{Surrogate}/u

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

const NO_BYTES = new Uint8Array(0)

/**
 * A stretch of bytes that a value is read from, piece by piece. Every piece is checked against the end: bytes that are cut off
 * or damaged are a `CodecError`, never a read beyond them.
 */
export class ByteReader {
  bytes: Uint8Array = NO_BYTES
  position = 0
  end = 0
  #view: DataView | undefined

  /** The same memory as `bytes`. Made when somebody asks: keys of strings need none. */
  get view(): DataView {
    this.#view ??= viewOf(this.bytes)
    return this.#view
  }

  /** Starts over with the bytes that a slot shows. */
  fromSlot(slot: Slot): this {
    this.bytes = slot.bytes
    this.#view = slot.view
    this.position = slot.offset
    this.end = slot.offset + slot.length
    return this
  }

  /** Starts over with an array, from `start`. */
  fromBytes(bytes: Uint8Array, start = 0): this {
    this.bytes = bytes
    this.#view = undefined
    this.position = start
    this.end = bytes.length
    return this
  }

  /** Moves on behind `count` bytes; returns where they begin. */
  take(count: number): number {
    const start = this.position
    if (start + count > this.end) {
      throw new CodecError(`bytes that are cut off: ${count} wanted, ${this.end - start} left`)
    }
    this.position = start + count
    return start
  }

  uint8(): number {
    return this.bytes[this.take(1)] as number
  }

  uint32(): number {
    return this.view.getUint32(this.take(4), true)
  }

  /** Everything that is left. */
  rest(): number {
    return this.end - this.position
  }

  /** The next `count` bytes, as a copy of their own. */
  copy(count: number): Uint8Array {
    const start = this.take(count)
    return new Uint8Array(this.bytes.subarray(start, start + count))
  }

  /** The next `count` bytes as UTF-8. */
  text(count: number): string {
    const start = this.take(count)
    const { bytes } = this
    for (let at = start; at < this.position; at++) {
      if ((bytes[at] as number) >= 0x80) return this.#text(start)
    }
    return latin1Slice.call(bytes, start, this.position)
  }

  /** Throws where bytes are left behind the value. */
  assertEnd(): void {
    if (this.position !== this.end) {
      throw new CodecError(`${this.end - this.position} bytes behind the end of the value`)
    }
  }

  #text(start: number): string {
    const text = utf8Slice.call(this.bytes, start, this.position)
    // Bytes that are not UTF-8 become U+FFFD. That is also a character that somebody may have written, so only then it is
    // worth looking closer.
    if (text.includes('\ufffd') && !isUtf8(this.bytes, start, this.position)) {
      throw new CodecError('bytes that are not UTF-8')
    }
    return text
  }
}

function isUtf8(bytes: Uint8Array, start: number, end: number): boolean {
  return isWholeUtf8(new Uint8Array(bytes.subarray(start, end)))
}

/** What `Buffer.prototype.toString` calls: they take any `Uint8Array`, and so need no `Buffer` made for each reading. */
const { latin1Slice, utf8Slice } = Buffer.prototype as unknown as {
  latin1Slice(this: Uint8Array, start: number, end: number): string
  utf8Slice(this: Uint8Array, start: number, end: number): string
}

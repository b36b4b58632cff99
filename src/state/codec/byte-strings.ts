// Codecs of strings, bytes and large integers: as values as short as can be, as keys with an end of their own.
//
//   key form of a string or bytes := (byte of 2 and more | 1 1 for a byte 0 | 1 2 for a byte 1)* 0
//
// (1) Nothing but the end is a 0, and it sorts before everything else: no key is a prefix of another one.

import { isBytes } from '../../base/shapes.js'
import { ByteReader, type ByteWriter } from './bytes.js'
import type { KeyCodec } from './codec.js'
import { CodecError, describeValue } from './codec-error.js'

const unescaped = new ByteReader()
const END = 0
const ESCAPE = 1

/** Any string that UTF-8 can express; one with a lone surrogate is refused (K2). Keys are in order of code points. */
export const utf8: KeyCodec<string> = Object.freeze({
  descriptor: 'utf8',
  fixedBytes: undefined,
  isOpenEnded: true,
  write: (value: string, to: ByteWriter) => {
    if (typeof value !== 'string') throw new CodecError(`${describeValue(value)} is not a string`)
    to.text(value)
  },
  read: (from: ByteReader) => from.text(from.rest()),
  writeKey: (value: string, to: ByteWriter) => {
    if (typeof value !== 'string') throw new CodecError(`${describeValue(value)} is not a string`)
    if (writePlainKey(value, to)) return
    const start = to.length
    to.text(value)
    endKey(to, start)
  },
  readKey: (from: ByteReader) => {
    const start = from.position
    const escapes = passKey(from)
    const end = from.position
    if (escapes > 0) {
      unescaped.fromBytes(unescape(from.bytes, start, end - 1, escapes))
      return unescaped.text(unescaped.rest())
    }
    from.position = start
    const text = from.text(end - 1 - start)
    from.position = end
    return text
  },
})

/** Writes a string of ASCII that needs no escapes, as most keys are; false, with nothing written, for any other one. */
function writePlainKey(text: string, to: ByteWriter): boolean {
  const { length } = text
  const start = to.reserve(length + 1)
  const { bytes: target } = to
  for (let i = 0; i < length; i++) {
    const unit = text.charCodeAt(i)
    if (unit <= ESCAPE || unit >= 0x80) {
      to.length = start
      return false
    }
    target[start + i] = unit
  }
  target[start + length] = END
  return true
}

const checkBytes = (value: unknown): void => {
  if (!isBytes(value)) throw new CodecError(`${describeValue(value)} is not a Uint8Array`)
}

/** Bytes as they are. What is read is a copy of its own. Keys are in the order of unsigned bytes. */
export const bytes: KeyCodec<Uint8Array> = Object.freeze({
  descriptor: 'bytes',
  fixedBytes: undefined,
  isOpenEnded: true,
  write: (value: Uint8Array, to: ByteWriter) => {
    checkBytes(value)
    to.append(value)
  },
  read: (from: ByteReader) => from.copy(from.rest()),
  writeKey: (value: Uint8Array, to: ByteWriter) => {
    checkBytes(value)
    const start = to.length
    to.append(value)
    endKey(to, start)
  },
  readKey: (from: ByteReader) => {
    const start = from.position
    const escapes = passKey(from)
    return unescape(from.bytes, start, from.position - 1, escapes)
  },
})

/** Escapes what was written since `start`, where it needs that, and ends it. */
function endKey(to: ByteWriter, start: number): void {
  let escapes = 0
  for (let at = start; at < to.length; at++) if ((to.bytes[at] as number) <= ESCAPE) escapes++
  if (escapes > 0) {
    // From behind, so that nothing is overwritten before it has moved.
    let source = to.length - 1
    to.reserve(escapes)
    const { bytes: target } = to
    for (let at = to.length - 1; at > source; source--) {
      const byte = target[source] as number
      if (byte > ESCAPE) {
        target[at--] = byte
      } else {
        target[at--] = byte + 1
        target[at--] = ESCAPE
      }
    }
  }
  to.uint8(END)
}

/** Moves on behind the end of a key; returns how many of its bytes are escaped. */
function passKey(from: ByteReader): number {
  let escapes = 0
  for (;;) {
    const byte = from.uint8()
    if (byte === END) return escapes
    if (byte !== ESCAPE) continue
    const escaped = from.uint8()
    if (escaped !== 1 && escaped !== 2) throw new CodecError(`a key with the escape 1 ${escaped}`)
    escapes++
  }
}

function unescape(source: Uint8Array, start: number, end: number, escapes: number): Uint8Array {
  const plain = new Uint8Array(end - start - escapes)
  for (let at = start, to = 0; at < end; at++) {
    const byte = source[at] as number
    plain[to++] = byte === ESCAPE ? (source[++at] as number) - 1 : byte
  }
  return plain
}

/** Most bytes of a bigint: its length takes 15 bits. */
const MAX_BIGINT_BYTES = 0x7fff
const ZERO_HEAD = 0x8000

/**
 * A `bigint` of any size up to 32,767 bytes: a head of two bytes (0x8000 plus the number of bytes, or minus it where the number
 * is negative), then the bytes, the highest first (of a negative number all bits turned). The same form as value and as key.
 */
export const bigint: KeyCodec<bigint> = Object.freeze({
  descriptor: 'bigint',
  fixedBytes: undefined,
  isOpenEnded: false,
  write: writeBigint,
  read: readBigint,
  writeKey: writeBigint,
  readKey: readBigint,
})

function writeBigint(value: bigint, to: ByteWriter): void {
  if (typeof value !== 'bigint') throw new CodecError(`${describeValue(value)} is not a bigint`)
  const isNegative = value < 0n
  const digits = value === 0n ? '' : (isNegative ? -value : value).toString(16)
  const count = (digits.length + 1) >> 1
  if (count > MAX_BIGINT_BYTES) {
    throw new CodecError(`a bigint of ${count} bytes; the limit is ${MAX_BIGINT_BYTES}`)
  }
  const start = to.reserve(2 + count)
  to.view.setUint16(start, isNegative ? ZERO_HEAD - count : ZERO_HEAD + count)
  to.bytes.write(digits.padStart(count * 2, '0'), start + 2, 'hex')
  if (isNegative) for (let at = start + 2; at < to.length; at++) to.bytes[at] = ~(to.bytes[at] as number)
}

function readBigint(from: ByteReader): bigint {
  const head = from.view.getUint16(from.take(2))
  const isNegative = head < ZERO_HEAD
  const count = Math.abs(head - ZERO_HEAD)
  if (count > MAX_BIGINT_BYTES) throw new CodecError('a bigint with the head 0')
  if (count === 0) return 0n
  const digits = Buffer.from(from.copy(count).buffer)
  if (isNegative) for (let i = 0; i < count; i++) digits[i] = ~(digits[i] as number)
  if (digits[0] === 0) throw new CodecError('a bigint with a leading zero')
  const value = BigInt(`0x${digits.toString('hex')}`)
  return isNegative ? -value : value
}

// How an entry lies in the store (docs/format/lmdb-store.md).
//
//   key    := 0x01 · the user's key
//   record := crc32 u32 · flags u8 · [expiresAtMs f64] · value
//   index  := expiresAtMs u64 big-endian · the user's key          (with an empty value)
//
// Numbers are little-endian where nothing else is said.
// (1) The checksum covers the user's key, then everything of the record behind the checksum.
// (2) flags bit 0: expiresAtMs is there. Bit 1: the value is compressed: rawLength u32, then an LZ4 block.

import type * as Lz4 from 'lz4-napi'
import type { PlacedEntry } from '../../backend/entry-block.js'
import { describeKey } from '../../base/bytes.js'
import { StateError } from '../../base/errors.js'
import { MAX_VALUE_BYTES } from '../../base/limits.js'
import { copyViewed, fillSlot, type Slot, type ViewedBytes } from '../../base/slot.js'
import { loadLz4 } from '../../codec/block-codec.js'
import { crc32 } from '../../codec/checksum.js'
import { byteCrc32, shortCrc32 } from '../../codec/short-crc32.js'
import type { ValuePool } from '../../log/value-pool.js'
import type { LmdbCompression } from '../types.js'

export const ENTRY_PREFIX = 0x01
/** Above the key of every entry. */
export const AFTER_LAST_KEY: Uint8Array = Uint8Array.of(ENTRY_PREFIX + 1)
export const EXPIRY_KEY_BYTES = 8

const RecordFlag = { EXPIRES: 1, COMPRESSED: 2 } as const
const KNOWN_FLAGS = RecordFlag.EXPIRES | RecordFlag.COMPRESSED

const CHECKSUM_BYTES = 4
/** Of a record without a time. */
export const RECORD_HEADER_BYTES = 5
const HEADER_BYTES = RECORD_HEADER_BYTES
const EXPIRY_BYTES = 8
const CHUNK_BYTES = 1024 * 1024
/** Shorter values are not worth compressing, and neither are those that it makes smaller by less than an eighth. */
const MIN_COMPRESSED_BYTES = 128
const WORTHWHILE = 7 / 8
/** Up to this length, a loop over bytes sums a key faster than a call of the library. */
const LOOP_SUM_BYTES = 48
/** Up to this length, a loop over words sums a record faster than a call of the library. */
const SHORT_SUM_BYTES = 1024

const sliceBytes = Uint8Array.prototype.slice
/** Reads the eight bytes of a time without a view of the record. */
const double = new Float64Array(1)
const doubleBytes = new Uint8Array(double.buffer)

/** Views of up to this length are kept. */
const KEPT_VIEW_BYTES = 1_024

/** Compresses values where that is wanted and worth it. */
export class ValuePacking {
  readonly #compression: LmdbCompression
  /** Loaded with the first value that is worth compressing. */
  #lz4: typeof Lz4 | undefined

  constructor(compression: LmdbCompression) {
    this.#compression = compression
  }

  /** `undefined`: the value goes in as it is. */
  pack({ bytes, valueStart: start, valueLength: length }: PlacedEntry): Buffer | undefined {
    if (this.#compression === 'none' || length < MIN_COMPRESSED_BYTES) return undefined
    this.#lz4 ??= loadLz4()
    // The library refuses shared memory, which a log's segments are.
    const packed = this.#lz4.compressSync(Buffer.from(sliceBytes.call(bytes, start, start + length)))
    return packed.length <= length * WORTHWHILE ? packed : undefined
  }
}

/** The length of a record, of which `packed` is the compressed value where there is one. */
export function recordBytes(
  { valueLength, expiresAtMs }: PlacedEntry,
  packed: Uint8Array | undefined,
): number {
  return HEADER_BYTES + (expiresAtMs === Infinity ? 0 : EXPIRY_BYTES) + (packed?.length ?? valueLength)
}

/** Writes a record of that length to memory that is not the entry's. */
export function writeRecord(
  entry: PlacedEntry,
  packed: Uint8Array | undefined,
  memory: ViewedBytes,
  start: number,
): void {
  const { bytes, view, keyStart, keyLength, valueStart, valueLength, expiresAtMs } = entry
  const expires = expiresAtMs !== Infinity
  const valueAt = start + HEADER_BYTES + (expires ? EXPIRY_BYTES : 0)
  const end = valueAt + (packed?.length ?? valueLength)
  const summed = start + CHECKSUM_BYTES
  memory.view.setUint8(
    summed,
    (expires ? RecordFlag.EXPIRES : 0) | (packed === undefined ? 0 : RecordFlag.COMPRESSED),
  )
  if (expires) memory.view.setFloat64(start + HEADER_BYTES, expiresAtMs, true)
  if (view !== undefined && packed === undefined && end - start <= SHORT_SUM_BYTES) {
    // Short ones by words: a view of each part, and a call of the library, take longer.
    copyViewed({ bytes, view }, valueStart, valueLength, memory, valueAt)
    const sum = shortCrc32(memory.view, summed, end - summed, shortCrc32(view, keyStart, keyLength))
    memory.view.setInt32(start, sum, true)
    return
  }
  memory.bytes.set(packed ?? bytes.subarray(valueStart, valueStart + valueLength), valueAt)
  const sum = crc32(memory.bytes.subarray(summed, end), keySum(bytes, keyStart, keyLength))
  memory.view.setUint32(start, sum, true)
}

/** Makes records, which stay where they are until `forget`: LMDB copies them while it commits. */
export class RecordWriter {
  readonly #packing: ValuePacking
  readonly #first: Buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  #chunk: Buffer = this.#first
  /** Of what the first chunk begins with, by length: to make a view takes a good part of what making a small record does. */
  readonly #firstViews: (Buffer | undefined)[] = []
  /** All of the memory that the chunk at hand is in: offsets in it are those of records. */
  #memory: ViewedBytes = memoryOf(this.#first)
  #used = 0

  constructor(compression: LmdbCompression) {
    this.#packing = new ValuePacking(compression)
  }

  encode(entry: PlacedEntry): Buffer {
    const packed = this.#packing.pack(entry)
    const record = this.#take(recordBytes(entry, packed))
    // A large one has memory of its own.
    const memory = record.buffer === this.#chunk.buffer ? this.#memory : memoryOf(record)
    writeRecord(entry, packed, memory, record.byteOffset)
    return record
  }

  /** Nobody needs the records made so far: their memory is used again. */
  forget(): void {
    this.#begin(this.#first)
  }

  #take(length: number): Buffer {
    if (length > CHUNK_BYTES) return Buffer.allocUnsafeSlow(length)
    if (this.#used + length > CHUNK_BYTES) this.#begin(Buffer.allocUnsafeSlow(CHUNK_BYTES))
    const start = this.#used
    this.#used += length
    // Where each record is forgotten before the next one, all of them begin here.
    if (start === 0 && length <= KEPT_VIEW_BYTES && this.#chunk === this.#first) {
      this.#firstViews[length] ??= this.#first.subarray(0, length)
      return this.#firstViews[length] as Buffer
    }
    return this.#chunk.subarray(start, this.#used)
  }

  #begin(chunk: Buffer): void {
    if (chunk !== this.#chunk) this.#memory = memoryOf(chunk)
    this.#chunk = chunk
    this.#used = 0
  }
}

/** When a record expires, by its header; Infinity: never. */
export function recordExpiry(record: Uint8Array): number {
  if (((record[CHECKSUM_BYTES] as number) & RecordFlag.EXPIRES) === 0) return Infinity
  for (let i = 0; i < EXPIRY_BYTES; i++) doubleBytes[i] = record[HEADER_BYTES + i] as number
  return double[0] as number
}

/** Throws `CORRUPTION`, with the key, unless the record is exactly what was written under it. */
export function checkRecord(record: Uint8Array, key: Uint8Array): void {
  const view = new DataView(record.buffer, record.byteOffset, record.length)
  checkRecordIn({ bytes: record, view }, record.length, key, keySum(key, 0, key.length))
}

/** The same for the first `length` of these bytes and a key whose sum is known. */
export function checkRecordIn(
  { bytes, view }: ViewedBytes,
  length: number,
  key: Uint8Array,
  sumOfKey: number,
): void {
  if (length < HEADER_BYTES) throw damaged(key, 'it is cut off')
  const flags = bytes[CHECKSUM_BYTES] as number
  const sum =
    length <= SHORT_SUM_BYTES
      ? shortCrc32(view, CHECKSUM_BYTES, length - CHECKSUM_BYTES, sumOfKey)
      : crc32(bytes.subarray(CHECKSUM_BYTES, length), sumOfKey) | 0
  if (sum !== view.getInt32(0, true)) throw damaged(key, 'its checksum does not match')
  if ((flags & ~KNOWN_FLAGS) !== 0) throw damaged(key, `its flags are ${flags}`)
  if ((flags & RecordFlag.EXPIRES) !== 0 && length < HEADER_BYTES + EXPIRY_BYTES) {
    throw damaged(key, 'its time is cut off')
  }
}

/** The value of a checked record that is the caller's own: a part of its memory where it is not compressed. */
export function recordPart(record: Uint8Array, key: Uint8Array): Uint8Array {
  const flags = record[CHECKSUM_BYTES] as number
  if ((flags & RecordFlag.COMPRESSED) !== 0) return decompressedValue(record, record.length, key)
  const start = valueStart(flags)
  return new Uint8Array(record.buffer, record.byteOffset + start, record.length - start)
}

/**
 * Checks an entry as `checkRecord` does, whose key lies in viewed memory from `keyStart` up to `start` and its record behind it up to `end`; returns
 * where the value begins.
 */
export function checkPlaced(
  { bytes, view }: ViewedBytes,
  keyStart: number,
  start: number,
  end: number,
): number {
  const length = end - start
  const valueAt =
    start + (length < HEADER_BYTES ? HEADER_BYTES : valueStart(view.getUint8(start + CHECKSUM_BYTES)))
  const summed = start + CHECKSUM_BYTES
  // What is long is summed faster by the library, and what is wrong is told by who tells it of all records.
  const isPlain = valueAt <= end && length <= SHORT_SUM_BYTES && (view.getUint8(summed) & ~KNOWN_FLAGS) === 0
  const sum = isPlain
    ? shortCrc32(view, summed, end - summed, shortCrc32(view, keyStart, start - keyStart))
    : 0
  if (isPlain && sum === view.getInt32(start, true)) return valueAt
  checkRecord(bytes.subarray(start, end), bytes.subarray(keyStart, start))
  return valueAt
}

/** Whether the value of a checked record that begins there is compressed. */
export function isCompressed(view: DataView, start: number): boolean {
  return (view.getUint8(start + CHECKSUM_BYTES) & RecordFlag.COMPRESSED) !== 0
}

/** When a checked record that begins there expires; Infinity: never. */
export function expiryAt(view: DataView, start: number): number {
  const expires = (view.getUint8(start + CHECKSUM_BYTES) & RecordFlag.EXPIRES) !== 0
  return expires ? view.getFloat64(start + HEADER_BYTES, true) : Infinity
}

/** Loaded with the first compressed value. */
let uncompressing: typeof Lz4 | undefined

/** The value of the checked record in the first `length` of these bytes, which is compressed. */
export function decompressedValue(bytes: Uint8Array, length: number, key: Uint8Array): Uint8Array {
  const start = valueStart(bytes[CHECKSUM_BYTES] as number)
  const packed = Buffer.from(bytes.buffer, bytes.byteOffset + start, length - start)
  if (packed.length < 4 || packed.readUInt32LE(0) > MAX_VALUE_BYTES) {
    throw damaged(key, 'its compressed value has no length')
  }
  uncompressing ??= loadLz4()
  try {
    const value = uncompressing.uncompressSync(packed)
    return new Uint8Array(value.buffer, value.byteOffset, value.length)
  } catch (cause) {
    throw damaged(key, 'its value cannot be decompressed', cause)
  }
}

/** The value of the checked record in the first `length` of these bytes, copied. */
export function copyValueIn(
  record: ViewedBytes,
  length: number,
  key: Uint8Array,
  copies: ValuePool,
): Uint8Array {
  const flags = record.bytes[CHECKSUM_BYTES] as number
  if ((flags & RecordFlag.COMPRESSED) !== 0) return decompressedValue(record.bytes, length, key)
  const start = valueStart(flags)
  return copies.copyViewed(record, start, length - start)
}

/** Shows the value of the checked record in the first `length` of these bytes: where it lies, if it is not compressed. */
export function showValueIn(bytes: Uint8Array, length: number, key: Uint8Array, slot: Slot): void {
  const flags = bytes[CHECKSUM_BYTES] as number
  if ((flags & RecordFlag.COMPRESSED) === 0) {
    const start = valueStart(flags)
    return fillSlot(slot, bytes, start, length - start)
  }
  const value = decompressedValue(bytes, length, key)
  fillSlot(slot, value, 0, value.length)
}

function memoryOf({ buffer }: Buffer): ViewedBytes {
  return { bytes: new Uint8Array(buffer), view: new DataView(buffer) }
}

function valueStart(flags: number): number {
  return HEADER_BYTES + ((flags & RecordFlag.EXPIRES) !== 0 ? EXPIRY_BYTES : 0)
}

function damaged(key: Uint8Array, reason: string, cause?: unknown): StateError {
  const what = `record of key ${describeKey(key)}`
  return new StateError('CORRUPTION', { what, reason, key: sliceBytes.call(key) }, { cause })
}

/** The checksum of a key, which that of its record goes on from. */
export function keySum(bytes: Uint8Array, start: number, length: number): number {
  return length > LOOP_SUM_BYTES
    ? crc32(bytes.subarray(start, start + length))
    : byteCrc32(bytes, start, length)
}

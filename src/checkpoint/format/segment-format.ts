// The bytes of a segment file; docs/format/segment.md says the same for a reader in another language.
//
//   segment     := header block* index footer
//   header      := 'HFSEGMNT' version u16 · codec u8 · role u8 · zero u64 · crc u32
//   block       := storedBytes u32 · rawBytes u32 · entryCount u32 · rawCrc u32 · storedCrc u32 · crc u32 · stored bytes
//   index       := indexEntry*
//   indexEntry  := offset u64 · storedBytes u32 · rawBytes u32 · entryCount u32 · firstKeyLength u16 · zero u16 · first key
//   footer      := indexOffset u64 · indexBytes u64 · entryCount u64 · tombstoneCount u64 · rawBytes u64
//                  · blockCount u32 · indexCrc u32 · zero u32 · crc u32 · 'HFSEGEND'
//
// Numbers are little-endian. Each `crc` is the CRC-32 of the bytes of its structure before it.
// (1) Every byte is under a checksum, or is compared with the one value that it may have.
// (2) The first 24 bytes keep their place in every version, so that any reader can tell what it does not know.
// (3) The structures follow each other without gaps, from the first byte of the file to the last.
// (4) No size is believed before its checksum held and it was compared with a limit.

import { assert } from '../../base/assert.js'
import { StateError } from '../../base/errors.js'
import { MAX_KEY_BYTES, MAX_VALUE_BYTES } from '../../base/limits.js'
import { CODEC_NAMES, CODEC_NUMBERS, type CodecName } from '../../codec/block-codec.js'
import { crc32 } from '../../codec/checksum.js'

const SEGMENT_VERSION = 1
export const SEGMENT_HEADER_BYTES = 24
export const BLOCK_HEADER_BYTES = 24
export const INDEX_ENTRY_BYTES = 24
export const FOOTER_BYTES = 64

/** Raw bytes at which a block is closed. A reader accepts any size up to {@link MAX_RAW_BLOCK_BYTES}. */
export const TARGET_BLOCK_BYTES: number = 256 * 1024

/** Largest raw block: the largest entry, and room in front of it for a block that was about to be closed. */
export const MAX_RAW_BLOCK_BYTES: number = MAX_VALUE_BYTES + 16 * 1024 * 1024

/** Smallest entry: a header of eight bytes with an empty key and an empty value. */
export const MIN_ENTRY_BYTES = 8

assert(TARGET_BLOCK_BYTES + MAX_VALUE_BYTES + MAX_KEY_BYTES + 16 <= MAX_RAW_BLOCK_BYTES, 'every block fits')

/** What a segment may hold: a base has the whole state and no tombstones, a delta what changed since. */
export type SegmentRole = 'base' | 'delta'

const ROLE_NUMBERS: { readonly [Role in SegmentRole]: number } = { base: 0, delta: 1 }

const HEADER_MAGIC = new TextEncoder().encode('HFSEGMNT')
const FOOTER_MAGIC = new TextEncoder().encode('HFSEGEND')

export interface SegmentHeader {
  readonly codec: CodecName
  readonly role: SegmentRole
}

export interface BlockHeader {
  readonly storedBytes: number
  readonly rawBytes: number
  readonly entryCount: number
  readonly rawCrc: number
  readonly storedCrc: number
}

export interface SegmentFooter {
  readonly indexOffset: number
  readonly indexBytes: number
  readonly entryCount: number
  readonly tombstoneCount: number
  readonly rawBytes: number
  readonly blockCount: number
  readonly indexCrc: number
}

/** The most that any codec makes of a block that it cannot shrink. */
export function maxStoredBytes(rawBytes: number): number {
  return rawBytes + (rawBytes >>> 6) + 1_024
}

export function damagedSegment(name: string, reason: string): StateError<'CORRUPTION'> {
  return new StateError('CORRUPTION', { what: `segment ${name}`, reason })
}

export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES)
  const view = viewOf(bytes)
  bytes.set(HEADER_MAGIC)
  view.setUint16(8, SEGMENT_VERSION, true)
  view.setUint8(10, CODEC_NUMBERS[header.codec])
  view.setUint8(11, ROLE_NUMBERS[header.role])
  view.setUint32(20, crc32(bytes.subarray(0, 20)), true)
  return bytes
}

/** `CORRUPTION` for damage, `INCOMPATIBLE` for an intact header with a version or codec that this build does not know. */
export function decodeSegmentHeader(bytes: Uint8Array, name: string): SegmentHeader {
  const view = viewOf(bytes)
  if (!matches(bytes, 0, HEADER_MAGIC)) throw damagedSegment(name, 'it does not begin like a segment')
  if (view.getUint32(20, true) !== crc32(bytes.subarray(0, 20))) {
    throw damagedSegment(name, 'the checksum of its header does not match')
  }
  const version = view.getUint16(8, true)
  if (version !== SEGMENT_VERSION) {
    const supported = `version ${SEGMENT_VERSION}`
    throw new StateError('INCOMPATIBLE', { what: `segment ${name}`, found: `version ${version}`, supported })
  }
  const codecNumber = view.getUint8(10)
  const codec = CODEC_NAMES.find((candidate) => CODEC_NUMBERS[candidate] === codecNumber)
  if (codec === undefined) {
    const supported = CODEC_NAMES.join(', ')
    throw new StateError('INCOMPATIBLE', {
      what: `segment ${name}`,
      found: `codec ${codecNumber}`,
      supported,
    })
  }
  const roleNumber = view.getUint8(11)
  if (roleNumber > 1) throw damagedSegment(name, `its role is ${roleNumber}`)
  if (view.getBigUint64(12, true) !== 0n) throw damagedSegment(name, 'its reserved bytes are not zero')
  return { codec, role: roleNumber === 0 ? 'base' : 'delta' }
}

export function encodeBlockHeader(header: BlockHeader): Uint8Array {
  const bytes = new Uint8Array(BLOCK_HEADER_BYTES)
  const view = viewOf(bytes)
  view.setUint32(0, header.storedBytes, true)
  view.setUint32(4, header.rawBytes, true)
  view.setUint32(8, header.entryCount, true)
  view.setUint32(12, header.rawCrc, true)
  view.setUint32(16, header.storedCrc, true)
  view.setUint32(20, crc32(bytes.subarray(0, 20)), true)
  return bytes
}

/** Decodes the header of the block at `offset`; its sizes are within limits when it returns. */
export function decodeBlockHeader(bytes: Uint8Array, name: string, offset: number): BlockHeader {
  const view = viewOf(bytes)
  const damaged = (reason: string) => damagedSegment(name, `${reason} (block at byte ${offset})`)
  if (view.getUint32(20, true) !== crc32(bytes.subarray(0, 20))) {
    throw damaged('the checksum of a block header does not match')
  }
  const storedBytes = view.getUint32(0, true)
  const rawBytes = view.getUint32(4, true)
  const entryCount = view.getUint32(8, true)
  if (rawBytes > MAX_RAW_BLOCK_BYTES) throw damaged(`a block of ${rawBytes} bytes`)
  if (storedBytes === 0 || storedBytes > maxStoredBytes(rawBytes)) {
    throw damaged(`${storedBytes} stored bytes for ${rawBytes} raw ones`)
  }
  if (entryCount === 0 || entryCount > rawBytes / MIN_ENTRY_BYTES) {
    throw damaged(`${entryCount} entries in ${rawBytes} bytes`)
  }
  const rawCrc = view.getUint32(12, true)
  const storedCrc = view.getUint32(16, true)
  return { storedBytes, rawBytes, entryCount, rawCrc, storedCrc }
}

export function encodeIndexEntry(offset: number, block: BlockHeader, firstKey: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(INDEX_ENTRY_BYTES + firstKey.length)
  const view = viewOf(bytes)
  view.setBigUint64(0, BigInt(offset), true)
  view.setUint32(8, block.storedBytes, true)
  view.setUint32(12, block.rawBytes, true)
  view.setUint32(16, block.entryCount, true)
  view.setUint16(20, firstKey.length, true)
  bytes.set(firstKey, INDEX_ENTRY_BYTES)
  return bytes
}

export function encodeFooter(footer: SegmentFooter): Uint8Array {
  const bytes = new Uint8Array(FOOTER_BYTES)
  const view = viewOf(bytes)
  view.setBigUint64(0, BigInt(footer.indexOffset), true)
  view.setBigUint64(8, BigInt(footer.indexBytes), true)
  view.setBigUint64(16, BigInt(footer.entryCount), true)
  view.setBigUint64(24, BigInt(footer.tombstoneCount), true)
  view.setBigUint64(32, BigInt(footer.rawBytes), true)
  view.setUint32(40, footer.blockCount, true)
  view.setUint32(44, footer.indexCrc, true)
  view.setUint32(52, crc32(bytes.subarray(0, 52)), true)
  bytes.set(FOOTER_MAGIC, 56)
  return bytes
}

/** Decodes the last bytes of a segment of `fileBytes`; what it says fits that size and itself when it returns. */
export function decodeFooter(bytes: Uint8Array, name: string, fileBytes: number): SegmentFooter {
  const view = viewOf(bytes)
  if (!matches(bytes, 56, FOOTER_MAGIC)) throw damagedSegment(name, 'it has no footer: it is cut off or torn')
  if (view.getUint32(52, true) !== crc32(bytes.subarray(0, 52))) {
    throw damagedSegment(name, 'the checksum of its footer does not match')
  }
  if (view.getUint32(48, true) !== 0) throw damagedSegment(name, 'reserved bytes of its footer are not zero')
  const footer = {
    indexOffset: Number(view.getBigUint64(0, true)),
    indexBytes: Number(view.getBigUint64(8, true)),
    entryCount: Number(view.getBigUint64(16, true)),
    tombstoneCount: Number(view.getBigUint64(24, true)),
    rawBytes: Number(view.getBigUint64(32, true)),
    blockCount: view.getUint32(40, true),
    indexCrc: view.getUint32(44, true),
  }
  const { indexOffset, indexBytes, entryCount, tombstoneCount, blockCount } = footer
  if (!Object.values(footer).every(Number.isSafeInteger))
    throw damagedSegment(name, 'its footer counts too far')
  const consistent =
    indexOffset >= SEGMENT_HEADER_BYTES + blockCount * BLOCK_HEADER_BYTES &&
    indexOffset + indexBytes + FOOTER_BYTES === fileBytes &&
    indexBytes >= blockCount * INDEX_ENTRY_BYTES &&
    indexBytes <= blockCount * (INDEX_ENTRY_BYTES + MAX_KEY_BYTES) &&
    (blockCount > 0 || indexOffset === SEGMENT_HEADER_BYTES) &&
    entryCount >= blockCount &&
    tombstoneCount <= entryCount
  if (!consistent) throw damagedSegment(name, 'its footer does not fit the file')
  return footer
}

function matches(bytes: Uint8Array, offset: number, expected: Uint8Array): boolean {
  return expected.every((byte, index) => bytes[offset + index] === byte)
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

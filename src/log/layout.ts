// How an entry lies in a segment of the log. Every entry starts at a multiple of eight bytes.
//
//   entry  := meta u32 · valueLength u32 · epoch u32 · previous u32 · [expiresAtMs f64 · bucket u32] · key · value · slack
//   meta   := keyLength (12 bits) | flags (5 bits) | slack in units of eight bytes (15 bits)
//
// (1) The key is padded with zeros to a multiple of four bytes, so that keys compare by words. The value begins at the next
//     multiple of eight: the machine's copy into shared memory goes byte by byte where source and target are not aligned alike.
// (2) `epoch` is the snapshot epoch of the last write to the entry. `previous` is the address of the version that this
//     one replaced while a snapshot could still see it, or 0.
// (3) Slack is room behind the value, left by a shorter value; a later one may take it back.
// (4) An address is a 32-bit number: segment number above, offset in units of eight bytes below. 0 is no address.
//     That bounds a log to 32 GiB.
// (5) `bucket` is the id of the expiry queue's bucket that holds the key's hash, or 0.
// (6) Numbers have the machine's byte order, which must be little-endian: a log never leaves its process.

// The modules of the hot path give the constants that they import from here a name of their own: V8 loads an imported one from
// memory and checks it wherever it is used, and makes one that a module keeps to itself part of the code.

import { assert } from '../base/assert.js'

/** Bytes between two addresses. */
export const UNIT_BYTES = 8
/** Words (32 bits) between two addresses, as a shift. */
export const UNIT_WORDS_SHIFT = 1

/** Address bits that count units within a segment: 2^21 units are 16 MiB. */
export const OFFSET_BITS = 21
export const OFFSET_MASK: number = (1 << OFFSET_BITS) - 1
/** Largest ordinary segment. A larger entry gets a segment of its own. */
export const SEGMENT_BYTES: number = (1 << OFFSET_BITS) * UNIT_BYTES
/** How many segments the remaining address bits can number. */
export const MAX_SEGMENTS: number = 1 << (32 - OFFSET_BITS)
/** All that addresses can reach. */
export const MAX_LOG_BYTES: number = MAX_SEGMENTS * SEGMENT_BYTES

export const WORD_VALUE_LENGTH = 1
export const WORD_EPOCH = 2
export const WORD_PREVIOUS = 3
const HEADER_WORDS = 4
/** Units from an entry's start to its expiry. */
export const EXPIRY_UNIT = 2
/** The word of an entry that expires with its bucket in the expiry queue. */
export const WORD_BUCKET = 6
const EXPIRY_WORDS = 3

const LENGTH_MASK = 0xfff
export const KEY_LENGTH_MASK: number = LENGTH_MASK
export const FLAG_EXPIRES = 0x1000
const FLAG_EXPIRES_BIT = 12
export const FLAG_TOMBSTONE = 0x2000
/** No longer the latest version of its key: replaced, removed or moved. The only word of an old entry that changes. */
export const FLAG_BURIED = 0x4000
/**
 * When this entry was written, the key was absent at every base that changes were tracked since. That it still is so takes a
 * look at the epoch: a newer base may know the key.
 */
export const FLAG_FRESH = 0x8000
/** The key's hash is in the queue of tombstones. */
export const FLAG_QUEUED = 0x10000
export const SLACK_SHIFT = 17
/** What of the first word is not slack. */
export const SLACKLESS_MASK: number = (1 << SLACK_SHIFT) - 1
/** Most slack an entry can record, in units: a value that shrinks by more is written anew. */
export const MAX_SLACK_UNITS = 0x7fff

/** Words before the key. */
export function headerWords(meta: number): number {
  return HEADER_WORDS + ((meta >>> FLAG_EXPIRES_BIT) & 1) * EXPIRY_WORDS
}

/** Words that a key takes with its padding. */
export function keyWords(keyLength: number): number {
  return (keyLength + 3) >> 2
}

/** Words before the value. */
export function wordsBeforeValue(meta: number): number {
  return (headerWords(meta) + (((meta & LENGTH_MASK) + 3) >> 2) + 1) & ~1
}

/** Units of an entry without slack. */
export function entryUnits(keyLength: number, valueLength: number, expires: boolean): number {
  const words = (expires ? HEADER_WORDS + EXPIRY_WORDS : HEADER_WORDS) + keyWords(keyLength)
  return ((words + 1) >> 1) + ((valueLength + UNIT_BYTES - 1) >>> 3)
}

/** Units of an entry as its first two words give them, slack included. */
export function storedUnits(meta: number, valueLength: number): number {
  const bare = entryUnits(meta & KEY_LENGTH_MASK, valueLength, (meta & FLAG_EXPIRES) !== 0)
  return bare + (meta >>> SLACK_SHIFT)
}

/** Key comparison and hashing read bytes as words: a big-endian machine would need another layout. */
export function assertLittleEndian(): void {
  assert(new Uint8Array(Uint16Array.of(1).buffer)[0] === 1, 'the in-memory log needs a little-endian machine')
}

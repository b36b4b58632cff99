import type { ForwardClock } from '../base/clock.js'
import type { Slot, ViewedBytes } from '../base/slot.js'
import { NO_BUCKET } from './expiry-queue.js'
import type { KeyProbe } from './index/key-probe.js'
import {
  EXPIRY_UNIT,
  entryUnits,
  FLAG_BURIED,
  FLAG_EXPIRES,
  FLAG_FRESH,
  FLAG_QUEUED,
  FLAG_TOMBSTONE,
  headerWords,
  KEY_LENGTH_MASK,
  keyWords,
  MAX_SLACK_UNITS,
  OFFSET_BITS,
  OFFSET_MASK,
  SLACK_SHIFT,
  SLACKLESS_MASK,
  storedUnits,
  UNIT_WORDS_SHIFT,
  WORD_BUCKET,
  WORD_EPOCH,
  WORD_PREVIOUS,
  WORD_VALUE_LENGTH,
  wordsBeforeValue,
} from './layout.js'
import type { SegmentTable } from './segment-table.js'
import { ValuePool } from './value-pool.js'

// See layout.ts for why these have names here as well.
const NUMBER_SHIFT = OFFSET_BITS
const UNIT_MASK = OFFSET_MASK
const WORD_SHIFT = UNIT_WORDS_SHIFT
const LENGTH_MASK = KEY_LENGTH_MASK
const EXPIRES = FLAG_EXPIRES
const TOMBSTONE = FLAG_TOMBSTONE
const VALUE_LENGTH = WORD_VALUE_LENGTH
const EPOCH = WORD_EPOCH
const PREVIOUS = WORD_PREVIOUS
const BUCKET = WORD_BUCKET
const IN_NONE = NO_BUCKET
const DEADLINE_UNIT = EXPIRY_UNIT

/** Below this length a loop over bytes beats making a view for the built-in copy. */
const LOOP_COPY_BYTES = 64
const LOOP_MOVE_WORDS = 128
/** A word of most entries that is in another cache line than their first one. */
const NEAR_WORD = 10
/** Of its own, because to find the method by its name takes V8 a third of the time of a short copy. */
const builtInCopy = Uint8Array.prototype.set
/** The furthest word of an entry that `touch` looks at. */
const TOUCHED_WORD = 32
const NEVER_THERE = -Infinity
/** In the place of an expiry time: there is no entry. */
export const GONE: number = NEVER_THERE
const NOWHERE = -1
/** In the place of a value's start: it does not fit where the old one lies, or must not lie there. */
export const NO_ROOM: number = NOWHERE

/** Where an entry lies that is to be appended: key and value are stretches of the same memory. */
export interface LyingEntry extends ViewedBytes {
  readonly keyStart: number
  readonly keyLength: number
  readonly valueStart: number
  readonly valueLength: number
}

/** Reads and writes single entries in the segments, by address; knows nothing of keys' latest versions. */
export class Entries {
  readonly #segments: SegmentTable
  readonly #pool = new ValuePool()
  /** What `touch` has seen: V8 leaves reads out that come to nothing. */
  touched = 0

  constructor(segments: SegmentTable) {
    this.#segments = segments
  }

  /**
   * Looks at some entries, so that what is read next is in the cache: the machine waits for many of them at once here, and for each
   * by itself where one is read after the other.
   */
  touch(addresses: Uint32Array, from: number, until: number): void {
    const end = Math.min(until, addresses.length)
    const { words: segments } = this.#segments
    let sum = 0
    for (let i = from; i < end; i++) {
      const address = addresses[i] as number
      const words = segments[address >>> NUMBER_SHIFT] as Int32Array
      const at = (address & UNIT_MASK) << WORD_SHIFT
      // What lies at the very end of a segment is left out: to read beyond it would have V8 throw away what it has compiled of the caller.
      if (at + TOUCHED_WORD < words.length) {
        sum |= (words[at] as number) | (words[at + 16] as number) | (words[at + TOUCHED_WORD] as number)
      }
    }
    this.touched = sum
  }

  /** The same where values are not looked at: what comes before them lies in the first two cache lines of most entries. */
  touchKeys(addresses: Uint32Array, from: number, until: number): void {
    const { words: segments } = this.#segments
    let sum = 0
    for (let i = from; i < until; i++) sum |= firstLines(segments, addresses[i] as number)
    this.touched = sum
  }

  /**
   * The same for the first two cache lines of entries, a multiple of eight, where an address may be 0; eight in one expression, as the index reads
   * them. A function of its own: within the one that calls it, the same reads made telling a key a tenth dearer. Returns what was read, of which
   * something must be made.
   */
  bringNear(addresses: Int32Array, from: number, count: number): number {
    const { words: segments } = this.#segments
    let seen = 0
    for (let i = from; i < from + count; i += 8) {
      seen |=
        firstLines(segments, addresses[i] as number) |
        firstLines(segments, addresses[i + 1] as number) |
        firstLines(segments, addresses[i + 2] as number) |
        firstLines(segments, addresses[i + 3] as number) |
        firstLines(segments, addresses[i + 4] as number) |
        firstLines(segments, addresses[i + 5] as number) |
        firstLines(segments, addresses[i + 6] as number) |
        firstLines(segments, addresses[i + 7] as number)
    }
    return seen
  }

  meta(address: number): number {
    return this.#word(address, 0)
  }

  /** Whether the entry, of which there is one, is no tombstone and never expires: the common case. */
  isPlain(address: number): boolean {
    const words = this.#segments.words[address >>> NUMBER_SHIFT] as Int32Array
    return ((words[(address & UNIT_MASK) << WORD_SHIFT] as number) & (TOMBSTONE | EXPIRES)) === 0
  }

  valueLength(address: number): number {
    return this.#word(address, VALUE_LENGTH)
  }

  epoch(address: number): number {
    return this.#word(address, EPOCH)
  }

  previous(address: number): number {
    return this.#word(address, PREVIOUS) >>> 0
  }

  isTombstone(address: number): boolean {
    return (this.#word(address, 0) & TOMBSTONE) !== 0
  }

  /** Whether this is no longer the latest version of its key. */
  isBuried(address: number): boolean {
    return (this.#word(address, 0) & FLAG_BURIED) !== 0
  }

  bury(address: number): void {
    this.#setFlag(address, FLAG_BURIED)
  }

  /**
   * Whether the key was absent at the base of epoch `newestBase` and at all older ones. A tombstone is fresh if that held for the
   * entry that it took the place of.
   */
  isFresh(address: number, newestBase: number): boolean {
    const meta = this.#word(address, 0)
    if ((meta & FLAG_FRESH) === 0) return false
    return (meta & TOMBSTONE) !== 0 || this.epoch(address) > newestBase
  }

  /** A base knows the entry. */
  makeKnown(address: number): void {
    this.#clearFlag(address, FLAG_FRESH)
  }

  /** Whether the key's hash is in the queue of tombstones. */
  isQueued(address: number): boolean {
    return (this.#word(address, 0) & FLAG_QUEUED) !== 0
  }

  setQueued(address: number): void {
    this.#setFlag(address, FLAG_QUEUED)
  }

  clearQueued(address: number): void {
    this.#clearFlag(address, FLAG_QUEUED)
  }

  keyLength(address: number): number {
    return this.#word(address, 0) & LENGTH_MASK
  }

  /** When the entry expires; Infinity: never. */
  expiresAtMs(address: number): number {
    if ((this.#word(address, 0) & EXPIRES) === 0) return Infinity
    const doubles = this.#segments.doubles[address >>> NUMBER_SHIFT] as Float64Array
    return doubles[(address & UNIT_MASK) + DEADLINE_UNIT] as number
  }

  /** The same, where there may be none or a tombstone: {@link GONE} then. */
  livesUntilMs(address: number): number {
    if (address === 0) return NEVER_THERE
    const flags = this.#word(address, 0) & (TOMBSTONE | EXPIRES)
    if (flags === 0) return Infinity
    return (flags & TOMBSTONE) !== 0 ? NEVER_THERE : this.expiresAtMs(address)
  }

  /** The bucket of the expiry queue that has the entry's hash; 0: none. `address` may be 0. */
  bucket(address: number): number {
    if (address === 0 || (this.#word(address, 0) & EXPIRES) === 0) return IN_NONE
    return this.#word(address, BUCKET) >>> 0
  }

  /** Sets the bucket of an entry that expires. */
  setBucket(address: number, bucket: number): void {
    const words = this.#segments.words[address >>> NUMBER_SHIFT] as Int32Array
    words[((address & UNIT_MASK) << WORD_SHIFT) + BUCKET] = bucket
  }

  /** Follows the versions back from `latest` to the newest one of at most this epoch, tombstones included; 0: none. */
  version(latest: number, epoch: number): number {
    let address = latest
    while (address !== 0 && this.epoch(address) > epoch) address = this.previous(address)
    return address
  }

  /** Units that the entry takes, slack included. */
  units(address: number): number {
    return storedUnits(this.#word(address, 0), this.#word(address, VALUE_LENGTH))
  }

  /** Where the key begins, in bytes from the start of its segment. */
  keyStart(address: number): number {
    const start = (address & UNIT_MASK) << WORD_SHIFT
    return (start + headerWords(this.#word(address, 0))) << 2
  }

  /** Where the value begins, in bytes from the start of its segment. */
  valueStart(address: number): number {
    const start = (address & UNIT_MASK) << WORD_SHIFT
    return (start + wordsBeforeValue(this.#word(address, 0))) << 2
  }

  segmentBytes(address: number): Uint8Array {
    return this.#segments.bytes[address >>> NUMBER_SHIFT] as Uint8Array
  }

  segmentWords(address: number): Int32Array {
    return this.#segments.words[address >>> NUMBER_SHIFT] as Int32Array
  }

  /** The same memory as `segmentBytes`. */
  segmentView(address: number): DataView {
    return this.#segments.views[address >>> NUMBER_SHIFT] as DataView
  }

  /** The key, as the caller's own bytes. */
  copyKey(address: number): Uint8Array {
    const number = address >>> NUMBER_SHIFT
    return this.#pool.copy(
      this.#segments.bytes[number] as Uint8Array,
      this.#segments.words[number] as Int32Array,
      this.keyStart(address),
      this.keyLength(address),
    )
  }

  /** The value, as the caller's own bytes. */
  copyValue(address: number): Uint8Array {
    const number = address >>> NUMBER_SHIFT
    const words = this.#segments.words[number] as Int32Array
    const start = (address & UNIT_MASK) << WORD_SHIFT
    const meta = words[start] as number
    const valueStart = (start + wordsBeforeValue(meta)) << 2
    const length = words[start + VALUE_LENGTH] as number
    return this.#pool.copy(this.#segments.bytes[number] as Uint8Array, words, valueStart, length)
  }

  /** Whether the entry's value is these bytes. */
  hasValue(address: number, bytes: Uint8Array, start: number, length: number): boolean {
    if (this.valueLength(address) !== length) return false
    const segment = this.segmentBytes(address)
    const valueStart = this.valueStart(address)
    for (let i = 0; i < length; i++) if (segment[valueStart + i] !== bytes[start + i]) return false
    return true
  }

  /** Shows the entry's value where it lies. */
  show(address: number, slot: Slot): void {
    const number = address >>> NUMBER_SHIFT
    const words = this.#segments.words[number] as Int32Array
    const start = (address & UNIT_MASK) << WORD_SHIFT
    const meta = words[start] as number
    const offset = (start + wordsBeforeValue(meta)) << 2
    this.showStretch(number, offset, words[start + VALUE_LENGTH] as number, slot)
  }

  /** Shows bytes of a segment. A slot that shows this segment already keeps its views: to store them costs more than to look. */
  showStretch(number: number, offset: number, length: number, slot: Slot): void {
    const bytes = this.#segments.bytes[number] as Uint8Array
    if (slot.bytes !== bytes) {
      slot.bytes = bytes
      slot.view = this.#segments.views[number] as DataView
    }
    slot.offset = offset
    slot.length = length
  }

  /**
   * Where the value begins of an entry that never expires and may be overwritten just as it lies, the common case: it was written
   * in this epoch already, so that no snapshot sees it and it is listed as changed; and its value has this length.
   * Otherwise {@link NO_ROOM}: ask `reshape`. In bytes from the start of its segment.
   */
  settledStart(address: number, length: number, epoch: number): number {
    const words = this.#segments.words[address >>> NUMBER_SHIFT] as Int32Array
    const at = (address & UNIT_MASK) << WORD_SHIFT
    const meta = words[at] as number
    const isSettled =
      (meta & (TOMBSTONE | EXPIRES)) === 0 &&
      words[at + VALUE_LENGTH] === length &&
      words[at + EPOCH] === epoch
    return isSettled ? (at + wordsBeforeValue(meta)) << 2 : NOWHERE
  }

  /**
   * The same of an entry that expires, which from now on does so at `expiresAtMs`, where nothing else is to be done: it is alive at
   * what the clock has told last, and its hash is queued and comes up in time, as it shall not expire before it would have.
   */
  renewedStart(
    address: number,
    length: number,
    epoch: number,
    expiresAtMs: number,
    clock: ForwardClock,
  ): number {
    const number = address >>> NUMBER_SHIFT
    const unit = address & UNIT_MASK
    const words = this.#segments.words[number] as Int32Array
    const at = unit << WORD_SHIFT
    const meta = words[at] as number
    const isSettled =
      (meta & (TOMBSTONE | EXPIRES)) === EXPIRES &&
      words[at + VALUE_LENGTH] === length &&
      words[at + EPOCH] === epoch &&
      words[at + BUCKET] !== IN_NONE
    if (!isSettled) return NOWHERE
    const doubles = this.#segments.doubles[number] as Float64Array
    const oldExpiresAtMs = doubles[unit + DEADLINE_UNIT] as number
    if (oldExpiresAtMs <= clock.latest || oldExpiresAtMs > expiresAtMs) return NOWHERE
    doubles[unit + DEADLINE_UNIT] = expiresAtMs
    return (at + wordsBeforeValue(meta)) << 2
  }

  /** Fills the entry's value with the value at `from` (0: none) as far as both go, and what is left of it with zeros. */
  fillFrom(address: number, from: number): void {
    const length = this.valueLength(address)
    const start = this.valueStart(address)
    const common = from === 0 ? 0 : Math.min(length, this.valueLength(from))
    const segment = this.segmentBytes(address)
    if (common > 0) copyInto(segment, start, this.segmentBytes(from), this.valueStart(from), common)
    if (length - common > LOOP_COPY_BYTES) segment.fill(0, start + common, start + length)
    else for (let at = start + common; at < start + length; at++) segment[at] = 0
  }

  /**
   * Begins a new entry with the probe's key at `address`, where `entryUnits` were taken for it. Its value, of this length,
   * is to be set next: until then it is what lay there before. It points back to no version: `setPrevious` changes that.
   */
  create(
    address: number,
    probe: KeyProbe,
    length: number,
    expiresAtMs: number,
    epoch: number,
    flags: number,
  ): void {
    const words = this.#segments.words[address >>> NUMBER_SHIFT] as Int32Array
    let at = (address & UNIT_MASK) << WORD_SHIFT
    const meta = probe.length | flags | (expiresAtMs === Infinity ? 0 : EXPIRES)
    words[at] = meta
    words[at + VALUE_LENGTH] = length
    words[at + EPOCH] = epoch
    words[at + PREVIOUS] = 0
    if (expiresAtMs !== Infinity) {
      this.#setExpiry(address, expiresAtMs)
      words[at + BUCKET] = IN_NONE
    }
    at += headerWords(meta)
    const count = keyWords(probe.length)
    for (let i = 0; i < count; i++) words[at + i] = probe.words[i] as number
  }

  /**
   * Sets length of the value, expiry and epoch where they lie, if the entry has room for them, and returns where the value
   * begins, in bytes from the start of its segment; otherwise changes nothing and returns {@link NO_ROOM}, as it does where
   * the snapshot of epoch `newestSnapshot` sees the entry. What a longer value gains is not cleared.
   */
  reshape(
    address: number,
    length: number,
    expiresAtMs: number,
    epoch: number,
    newestSnapshot: number,
  ): number {
    const words = this.#segments.words[address >>> NUMBER_SHIFT] as Int32Array
    const at = (address & UNIT_MASK) << WORD_SHIFT
    const meta = words[at] as number
    const canExpire = (meta & EXPIRES) !== 0
    if ((words[at + EPOCH] as number) <= newestSnapshot) return NOWHERE
    if (!canExpire && expiresAtMs !== Infinity) return NOWHERE
    const oldLength = words[at + VALUE_LENGTH] as number
    if (oldLength !== length) {
      const keyLength = meta & LENGTH_MASK
      const slack = storedUnits(meta, oldLength) - entryUnits(keyLength, length, canExpire)
      if (slack < 0 || slack > MAX_SLACK_UNITS) return NOWHERE
      words[at] = (meta & SLACKLESS_MASK) | (slack << SLACK_SHIFT)
      words[at + VALUE_LENGTH] = length
    }
    words[at + EPOCH] = epoch
    if (canExpire) this.#setExpiry(address, expiresAtMs)
    return (at + wordsBeforeValue(meta)) << 2
  }

  /** Overwrites a value where it lies; the entry has its length. */
  setValue(address: number, value: Uint8Array, start: number, length: number): void {
    const number = address >>> NUMBER_SHIFT
    const words = this.#segments.words[number] as Int32Array
    const at = (address & UNIT_MASK) << WORD_SHIFT
    const meta = words[at] as number
    const valueStart = (at + wordsBeforeValue(meta)) << 2
    copyInto(this.#segments.bytes[number] as Uint8Array, valueStart, value, start, length)
  }

  /**
   * `create` and `setValue` of an entry that lies in memory that can be viewed, word by word where it is short: in one go, as logs are
   * filled with millions. The key is loaded into the probe on the way.
   */
  createFrom(
    address: number,
    probe: KeyProbe,
    entry: LyingEntry,
    expiresAtMs: number,
    epoch: number,
    flags: number,
  ): void {
    const { view, keyStart, keyLength, valueStart, valueLength } = entry
    const words = this.#segments.words[address >>> NUMBER_SHIFT] as Int32Array
    const at = (address & UNIT_MASK) << WORD_SHIFT
    const meta = keyLength | flags | (expiresAtMs === Infinity ? 0 : EXPIRES)
    words[at] = meta
    words[at + VALUE_LENGTH] = valueLength
    words[at + EPOCH] = epoch
    words[at + PREVIOUS] = 0
    if (expiresAtMs !== Infinity) {
      this.#setExpiry(address, expiresAtMs)
      words[at + BUCKET] = IN_NONE
    }
    probe.loadFrom(view, keyStart, keyLength)
    const key = probe.words
    const count = keyWords(keyLength)
    const target = at + headerWords(meta)
    for (let i = 0; i < count; i++) words[target + i] = key[i] as number
    if (valueLength > LOOP_MOVE_WORDS * 4) {
      this.setValue(address, entry.bytes, valueStart, valueLength)
      return
    }
    let to = at + wordsBeforeValue(meta)
    let from = valueStart
    const end = valueStart + valueLength
    for (const last = end - 4; from <= last; from += 4) words[to++] = view.getInt32(from, true)
    // What is left of the last word is nobody's: the next entry begins behind it.
    let word = 0
    for (let shift = 0; from < end; shift += 8) word |= view.getUint8(from++) << shift
    if ((valueLength & 3) !== 0) words[to] = word
  }

  /** Whether `reshape` would find room. */
  hasRoomFor(address: number, valueLength: number, expires: boolean): boolean {
    const canExpire = (this.#word(address, 0) & EXPIRES) !== 0
    if (expires && !canExpire) return false
    const slack = this.units(address) - entryUnits(this.keyLength(address), valueLength, canExpire)
    return slack >= 0 && slack <= MAX_SLACK_UNITS
  }

  /**
   * Turns an entry that no snapshot sees into a tombstone over the version at `previous`, its value into slack: compaction does
   * not carry it along.
   */
  makeTombstone(address: number, epoch: number, previous: number): void {
    const words = this.#segments.words[address >>> NUMBER_SHIFT] as Int32Array
    const at = (address & UNIT_MASK) << WORD_SHIFT
    const meta = words[at] as number
    words[at] = meta | TOMBSTONE
    words[at + EPOCH] = epoch
    words[at + PREVIOUS] = previous
    const bare = entryUnits(meta & LENGTH_MASK, 0, (meta & EXPIRES) !== 0)
    const slack = storedUnits(meta, words[at + VALUE_LENGTH] as number) - bare
    if (slack > MAX_SLACK_UNITS) return
    words[at] = (meta & SLACKLESS_MASK) | TOMBSTONE | (slack << SLACK_SHIFT)
    words[at + VALUE_LENGTH] = 0
  }

  setPrevious(address: number, previous: number): void {
    const words = this.#segments.words[address >>> NUMBER_SHIFT] as Int32Array
    words[((address & UNIT_MASK) << WORD_SHIFT) + PREVIOUS] = previous
  }

  setEpoch(address: number, epoch: number): void {
    const words = this.#segments.words[address >>> NUMBER_SHIFT] as Int32Array
    words[((address & UNIT_MASK) << WORD_SHIFT) + EPOCH] = epoch
  }

  /** Copies an entry to `to`, where `bareUnits(from)` were taken for it, without its slack. */
  move(from: number, to: number): void {
    const source = this.#segments.words[from >>> NUMBER_SHIFT] as Int32Array
    const target = this.#segments.words[to >>> NUMBER_SHIFT] as Int32Array
    const fromWord = (from & UNIT_MASK) << WORD_SHIFT
    const toWord = (to & UNIT_MASK) << WORD_SHIFT
    const count = this.bareUnits(from) << WORD_SHIFT
    if (count <= LOOP_MOVE_WORDS) {
      for (let i = 0; i < count; i++) target[toWord + i] = source[fromWord + i] as number
    } else {
      target.set(source.subarray(fromWord, fromWord + count), toWord)
    }
    target[toWord] = (target[toWord] as number) & SLACKLESS_MASK
  }

  /** Units that the entry takes without its slack. */
  bareUnits(address: number): number {
    return this.units(address) - (this.#word(address, 0) >>> SLACK_SHIFT)
  }

  #setFlag(address: number, flag: number): void {
    const words = this.#segments.words[address >>> NUMBER_SHIFT] as Int32Array
    const at = (address & UNIT_MASK) << WORD_SHIFT
    words[at] = (words[at] as number) | flag
  }

  #clearFlag(address: number, flag: number): void {
    const words = this.#segments.words[address >>> NUMBER_SHIFT] as Int32Array
    const at = (address & UNIT_MASK) << WORD_SHIFT
    words[at] = (words[at] as number) & ~flag
  }

  #setExpiry(address: number, expiresAtMs: number): void {
    const doubles = this.#segments.doubles[address >>> NUMBER_SHIFT] as Float64Array
    doubles[(address & UNIT_MASK) + DEADLINE_UNIT] = expiresAtMs
  }

  #word(address: number, word: number): number {
    const words = this.#segments.words[address >>> NUMBER_SHIFT] as Int32Array
    return words[((address & UNIT_MASK) << WORD_SHIFT) + word] as number
  }
}

/** A word of each of the first two cache lines of an entry. */
function firstLines(segments: readonly (Int32Array | undefined)[], address: number): number {
  const words = segments[address >>> NUMBER_SHIFT] as Int32Array
  const at = (address & UNIT_MASK) << WORD_SHIFT
  // What lies at the very end of a segment is left out, and so is one that was given back.
  if (at + NEAR_WORD >= words.length) return 0
  return (words[at] as number) | (words[at + NEAR_WORD] as number)
}

/** Copies a stretch of bytes into a segment. */
export function copyInto(
  segment: Uint8Array,
  at: number,
  bytes: Uint8Array,
  start: number,
  length: number,
): void {
  if (length <= LOOP_COPY_BYTES) {
    for (let i = 0; i < length; i++) segment[at + i] = bytes[start + i] as number
  } else {
    const isWhole = start === 0 && length === bytes.length
    builtInCopy.call(segment, isWhole ? bytes : bytes.subarray(start, start + length), at)
  }
}

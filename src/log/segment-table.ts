// The memory of a log: shared array buffers by number, each seen as bytes, words, doubles, and through a DataView.
//
// (1) A segment is filled from its second unit on, so that no entry has address 0.
// (2) A new segment is at most half as large as all there are: an engine with ten entries costs kilobytes.
// (3) What `allocatedBytes` counts never passes `maxBytes`.

import { assert } from '../base/assert.js'
import { StateError } from '../base/errors.js'
import { MAX_LOG_BYTES, MAX_SEGMENTS, OFFSET_BITS, SEGMENT_BYTES, UNIT_BYTES } from './layout.js'
import { SegmentPins } from './segment-pins.js'
import type { SegmentSource } from './segment-pool.js'

const SMALLEST_SEGMENT_BYTES = 4 * 1024
const FIRST_SEGMENT_BYTES = 256 * 1024
/** A limited log is divided into at least this many segments, so that compaction needs little room beside it. */
const SEGMENTS_IN_LIMIT = 32
/** Emptied segments are kept for reuse: one, or one for each eight in use. More are given back. */
const MIN_SPARES = 1
const SEGMENTS_PER_SPARE = 8

const NO_BUFFER = new SharedArrayBuffer(0)
const NO_BYTES = new Uint8Array(0)
const NO_WORDS = new Int32Array(0)
const NO_DOUBLES = new Float64Array(0)
const NO_VIEW = new DataView(NO_BUFFER)

/** A segment as another thread is told of it; `usedUnits` 0: there is none of this number. */
export interface SharedSegment {
  readonly buffer: SharedArrayBuffer
  readonly usedUnits: number
}

/** Bytes of an ordinary segment once a log with this limit has grown. */
export function ordinarySegmentBytes(maxBytes: number): number {
  const share = 2 ** Math.floor(Math.log2(Math.min(maxBytes, MAX_LOG_BYTES) / SEGMENTS_IN_LIMIT))
  return Math.min(SEGMENT_BYTES, Math.max(SMALLEST_SEGMENT_BYTES, share))
}

export class SegmentTable {
  /** By segment number; empty views where there is none. */
  readonly bytes: Uint8Array[] = []
  readonly words: Int32Array[] = []
  readonly doubles: Float64Array[] = []
  readonly views: DataView[] = []
  /** Units filled so far, and units of them that hold nothing live any more. */
  readonly usedUnits: number[] = []
  readonly deadUnits: number[] = []
  /** When each was made, as {@link SegmentPins} count time. */
  readonly #madeAt: number[] = []
  readonly #pins = new SegmentPins()

  readonly #maxBytes: number
  readonly #largestBytes: number
  readonly #pool: SegmentSource | undefined
  readonly #free: number[] = []
  readonly #spares: SharedArrayBuffer[] = []
  #allocatedBytes = 0
  #usedUnits = 0
  #deadUnits = 0

  constructor(maxBytes: number, pool?: SegmentSource) {
    this.#pool = pool
    this.#maxBytes = Math.min(maxBytes, MAX_LOG_BYTES)
    this.#largestBytes = pool?.segmentBytes ?? ordinarySegmentBytes(maxBytes)
  }

  /** The table of another thread's log, to be read only. */
  static attach(segments: readonly SharedSegment[]): SegmentTable {
    const table = new SegmentTable(Infinity)
    for (const { buffer, usedUnits } of segments) {
      table.bytes.push(new Uint8Array(buffer))
      table.words.push(new Int32Array(buffer))
      table.doubles.push(new Float64Array(buffer))
      table.views.push(new DataView(buffer))
      table.usedUnits.push(usedUnits)
      table.deadUnits.push(0)
    }
    return table
  }

  /** What `attach` takes. The views share these buffers: nothing is copied. */
  share(): SharedSegment[] {
    return this.bytes.map(({ buffer }, number) => {
      const usedUnits = this.usedUnits[number] as number
      return usedUnits === 0 || this.isDead(number)
        ? { buffer: NO_BUFFER, usedUnits: 0 }
        : { buffer: buffer as SharedArrayBuffer, usedUnits }
    })
  }

  /** All segments, empty ones too, for another thread to go on with: this table must not be used any more. */
  image(): SharedSegment[] {
    return this.bytes.map(({ buffer }, number) => ({
      buffer: buffer as SharedArrayBuffer,
      usedUnits: this.usedUnits[number] as number,
    }))
  }

  /** Takes the place of the table that another thread has filled, in which nothing is dead. Only of one in which nothing was written. */
  adopt(segments: readonly SharedSegment[]): void {
    assert(this.#usedUnits === 0 && this.#free.length === 0, 'a table that was used')
    this.#allocatedBytes = 0
    for (const [number, { buffer, usedUnits }] of segments.entries()) {
      this.#show(number, buffer, usedUnits)
      this.#allocatedBytes += buffer.byteLength
      this.#usedUnits += usedUnits - 1
    }
  }

  /** Bytes of all segments, spare ones included. */
  get allocatedBytes(): number {
    return this.#allocatedBytes
  }

  /** Bytes filled with entries, dead ones included. */
  get usedBytes(): number {
    return this.#usedUnits * UNIT_BYTES
  }

  /** Bytes of entries that were replaced or removed and not yet reclaimed. */
  get deadBytes(): number {
    return this.#deadUnits * UNIT_BYTES
  }

  /** Bytes of an ordinary segment once the log has grown. */
  get largestBytes(): number {
    return this.#largestBytes
  }

  /** What `allocatedBytes` and the memory beside it may come to. */
  get limitBytes(): number {
    return this.#maxBytes
  }

  /** What the limit leaves beside the segments in use; spare ones are given up where they are in the way. */
  get availableBytes(): number {
    return this.#maxBytes - this.#allocatedBytes + this.#spares.length * this.#largestBytes
  }

  /** Units of entries that a fresh ordinary segment takes. */
  get ordinaryUnits(): number {
    return this.#largestBytes / UNIT_BYTES - 1
  }

  /** Whether an entry of `units` goes into an ordinary segment rather than one of its own. */
  isOrdinary(units: number): boolean {
    return units <= this.ordinaryUnits
  }

  /** Size of the segment that a large entry gets for itself. */
  dedicatedBytes(units: number): number {
    return (units + 1) * UNIT_BYTES
  }

  /** Units left in a segment. */
  room(number: number): number {
    return (this.bytes[number] as Uint8Array).length / UNIT_BYTES - (this.usedUnits[number] as number)
  }

  /** Nothing in the segment lives. */
  isDead(number: number): boolean {
    return this.deadUnits[number] === (this.usedUnits[number] as number) - 1
  }

  /** Whether what is in use and `besideBytes` together keep to the limit. */
  isWithin(besideBytes: number): boolean {
    return besideBytes <= this.availableBytes
  }

  /** The same without touching spare segments. */
  isFree(besideBytes: number): boolean {
    return this.#allocatedBytes + besideBytes <= this.#maxBytes
  }

  /**
   * A new empty segment with room for an entry of `units`; returns its number. `besideBytes` counts against the limit
   * as well. Throws `BACKEND_FULL` where the limit, the addresses or the machine's memory do not allow it.
   */
  allocate(units: number, besideBytes: number): number {
    const spare = this.isOrdinary(units) ? this.#spares.pop() : undefined
    return this.#begin(spare ?? this.#create(this.#sizeFor(units), besideBytes))
  }

  /** The same, of a segment that has room for `units` and no more. */
  allocateExactly(units: number, besideBytes: number): number {
    return this.#begin(this.#create(this.dedicatedBytes(units), besideBytes))
  }

  #begin(buffer: SharedArrayBuffer): number {
    const number = this.#free.pop() ?? this.bytes.length
    this.#show(number, buffer, 1)
    return number
  }

  #show(number: number, buffer: SharedArrayBuffer, usedUnits: number): void {
    this.bytes[number] = new Uint8Array(buffer)
    this.words[number] = new Int32Array(buffer)
    this.doubles[number] = new Float64Array(buffer)
    this.views[number] = new DataView(buffer)
    this.usedUnits[number] = usedUnits
    this.deadUnits[number] = 0
    this.#madeAt[number] = this.#pins.moment
  }

  /** Whether `allocate` could give a segment for `units` within the limit. */
  canAllocate(units: number, besideBytes: number): boolean {
    return this.isWithin(besideBytes + this.#sizeFor(units)) && this.#numberLeft()
  }

  /** Whether `allocateExactly` could, and would leave most of the numbers that segments can have. */
  canAllocateExactly(units: number, besideBytes: number): boolean {
    const inUse = this.bytes.length - this.#free.length
    return inUse < MAX_SEGMENTS / 2 && this.isFree(besideBytes + this.dedicatedBytes(units))
  }

  /** Holds `count` ordinary segments ready, so that allocating them cannot fail; false where the limit forbids it. */
  prepareSpares(count: number, besideBytes: number): boolean {
    if (!this.isWithin(besideBytes + count * this.#largestBytes)) return false
    while (this.#spares.length < count) this.#spares.push(this.#create(this.#largestBytes, besideBytes))
    return true
  }

  /** Until `unpin`, what is there now may be read, even if it dies. */
  pin(): number {
    return this.#pins.add()
  }

  unpin(pin: number): void {
    for (const number of this.#pins.remove(pin)) this.#release(number)
  }

  /** Whether memory that dies in the segment cannot be given back for now. */
  isPinned(number: number): boolean {
    return this.#pins.keeps(this.#madeAt[number] as number)
  }

  /** How many pins are held; see `ageOf`. */
  get pinCount(): number {
    return this.#pins.count
  }

  /** How many of the pins that are held are from before the segment was made. */
  ageOf(number: number): number {
    return this.#pins.countUpTo(this.#madeAt[number] as number)
  }

  /** An entry was moved from one segment to another: whoever may read it there may read it here. */
  moved(from: number, to: number): void {
    this.#madeAt[to] = Math.min(this.#madeAt[to] as number, this.#madeAt[from] as number)
  }

  /** Gives the memory of a segment back in which nothing lives, as soon as nobody may read it. */
  retire(number: number): void {
    if (!this.#pins.died(number, this.#madeAt[number] as number)) this.#release(number)
  }

  #release(number: number): void {
    const bytes = this.bytes[number] as Uint8Array
    assert(bytes.length > 0, 'a segment is released once')
    this.#usedUnits -= (this.usedUnits[number] as number) - 1
    this.#deadUnits -= this.deadUnits[number] as number
    if (bytes.length === this.#largestBytes) this.#spares.push(bytes.buffer as SharedArrayBuffer)
    else this.#allocatedBytes -= bytes.length
    this.bytes[number] = NO_BYTES
    this.words[number] = NO_WORDS
    this.doubles[number] = NO_DOUBLES
    this.views[number] = NO_VIEW
    this.usedUnits[number] = 0
    this.deadUnits[number] = 0
    this.#free.push(number)
    const inUse = this.bytes.length - this.#free.length
    this.#dropSpares(Math.max(MIN_SPARES, Math.floor(inUse / SEGMENTS_PER_SPARE)))
  }

  /** Gives all memory to the pool; the table must not be used any more, here or in another thread. */
  dispose(): void {
    for (const buffer of this.#spares.splice(0)) this.#pool?.give(buffer)
    for (const { buffer } of this.bytes.splice(0)) this.#pool?.give(buffer as SharedArrayBuffer)
  }

  /** Takes `units` at the end of a segment that has room for them; returns their address. */
  take(number: number, units: number): number {
    const offset = this.usedUnits[number] as number
    this.usedUnits[number] = offset + units
    this.#usedUnits += units
    return ((number << OFFSET_BITS) | offset) >>> 0
  }

  /** Counts units of a segment as dead; returns whether nothing in it lives any more. */
  bury(number: number, units: number): boolean {
    this.deadUnits[number] = (this.deadUnits[number] as number) + units
    this.#deadUnits += units
    return this.isDead(number)
  }

  #sizeFor(units: number): number {
    const needed = this.dedicatedBytes(units)
    if (!this.isOrdinary(units)) return needed
    if (this.#pool !== undefined) return this.#largestBytes
    const half = powerOfTwo(this.#allocatedBytes / 2)
    return Math.min(this.#largestBytes, Math.max(FIRST_SEGMENT_BYTES, half, powerOfTwo(needed)))
  }

  #create(size: number, besideBytes: number): SharedArrayBuffer {
    const excess = this.#allocatedBytes + besideBytes + size - this.#maxBytes
    if (excess > 0) this.#dropSpares(this.#spares.length - Math.ceil(excess / this.#largestBytes))
    const used = this.#allocatedBytes + besideBytes
    if (used + size > this.#maxBytes || !this.#numberLeft()) {
      throw new StateError('BACKEND_FULL', { used, capacity: this.#maxBytes })
    }
    try {
      const pooled = size === this.#largestBytes ? this.#pool?.take() : undefined
      const buffer = pooled ?? new SharedArrayBuffer(size)
      this.#allocatedBytes += size
      return buffer
    } catch (cause) {
      throw new StateError('BACKEND_FULL', { used, capacity: used }, { cause })
    }
  }

  #dropSpares(most: number): void {
    while (this.#spares.length > Math.max(0, most)) {
      this.#spares.pop()
      this.#allocatedBytes -= this.#largestBytes
    }
  }

  #numberLeft(): boolean {
    return this.#free.length + MAX_SEGMENTS - this.bytes.length > this.#spares.length
  }
}

function powerOfTwo(atLeast: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, atLeast)))
}

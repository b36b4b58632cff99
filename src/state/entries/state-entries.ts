// What one state reads and writes: its entries, and what belongs to them.
//
// (1) A state that has been given another encoded form has another id; what the earlier form (a former generation) has written
//     stays under the earlier id until it is migrated or written anew. Under one key, the newest generation's entry counts.
// (2) Whatever is written or removed under the present id is removed under the former ones, in the same step.
// (3) A state that expires by event time has a stamp in front of each value, and a look entry (time/event-expiry.ts).
// (4) Index entries are written and removed in the same step as the entry that they point to.

import type { Entry, PutOptions, ScanRange } from '../../backend/types.js'
import { present } from '../../base/assert.js'
import { StateError } from '../../base/errors.js'
import { MAX_KEY_BYTES } from '../../base/limits.js'
import { Slot } from '../../base/slot.js'
import { ByteReader, ByteWriter } from '../codec/bytes.js'
import type { Codec } from '../codec/codec.js'
import { type CodecDirection, CodecError, isCodecError } from '../codec/codec-error.js'
import { int64 } from '../codec/numbers.js'
import { checkStoredLength, GivenKey, PREFIX_BYTES } from '../key/stored-key.js'
import { ABSENT, type EntryIndex, IndexedValue, IndexMove } from '../query/entry-index.js'
import { type EventExpiry, type ExpiringState, LOOK_BYTES, STAMP_BYTES } from '../time/event-expiry.js'
import { show } from './backend-entries.js'
import type { AssembledKey } from './entries.js'
import { type Host, rangeOfState, type ScannedEntry } from './host.js'

/** There is no entry. */
export const NONE = -1
/** The entry is in the present form; above are former generations, the newest first. */
export const PRESENT = 0

/** An earlier form of a state, of which entries may be left. */
export interface FormerGeneration {
  readonly id: number
  /** Whether its values have a stamp of event time in front. */
  readonly isStamped: boolean
  /** Reads a value and makes one of the present version of it; `undefined` where the bytes are the same. */
  readonly read: ((from: ByteReader) => unknown) | undefined
}

export interface StateEntriesOptions {
  readonly name: string
  readonly id: number
  readonly put: PutOptions
  /** Of a state that expires by event time. */
  readonly event: { readonly expiry: EventExpiry; readonly afterMs: number } | undefined
  readonly formers: readonly FormerGeneration[]
  readonly indexes: readonly EntryIndex[]
  /** This store is only read; another process may write it. */
  readonly isWrittenElsewhere: boolean
  /** The longest value that the engine takes. */
  readonly maxValueBytes: number
  /** Of values in the present form. */
  readonly codec: Codec<unknown>
  /** The error for something that is wrong with an entry, with its key as far as that can be told. */
  readonly failure: (direction: CodecDirection, error: unknown, storedKey: Uint8Array) => StateError
}

const LOOK_STEPS = 16

export class StateEntries implements ExpiringState {
  readonly lookStepMs: number
  readonly #host: Host
  readonly #options: StateEntriesOptions
  #formers: readonly FormerGeneration[]
  #formerIds: readonly number[]
  /** Nothing but entries belongs to it, and they are what was put. */
  #isPlain: boolean
  readonly #put: PutOptions
  /** What lies under a key before it is written. */
  readonly #old = new Slot()
  readonly #stamped = new ByteWriter()
  readonly #reader = new ByteReader()
  /** What becomes of each index when an entry is written or removed. */
  readonly #moves: readonly IndexMove[]
  readonly #before: IndexedValue
  readonly #after: IndexedValue
  /** Whether a function of an index runs: it must not come back here, where the key of the entry at hand would be forgotten. */
  #isDeriving = false
  #misuse: StateError | undefined

  constructor(host: Host, options: StateEntriesOptions) {
    const { event, formers, indexes } = options
    this.#host = host
    this.#options = options
    this.#formers = formers
    this.#formerIds = formers.map(({ id }) => id)
    this.#isPlain = event === undefined && formers.length === 0 && indexes.length === 0
    this.#put = options.put
    this.#moves = indexes.map((index) => new IndexMove(index))
    this.#before = new IndexedValue(options.codec)
    this.#after = new IndexedValue(options.codec)
    this.lookStepMs = Math.max(1, Math.floor((event?.afterMs ?? 0) / LOOK_STEPS))
    event?.expiry.add(options.id, this)
  }

  get formers(): readonly FormerGeneration[] {
    return this.#formers
  }

  get indexes(): readonly EntryIndex[] {
    return this.#options.indexes
  }

  /** Whether values have the time at which they expire in front. */
  get isStamped(): boolean {
    return this.#options.event !== undefined
  }

  /** The longest value that an entry has room for. */
  get maxValueBytes(): number {
    const { maxValueBytes } = this.#options
    return this.isStamped ? maxValueBytes - STAMP_BYTES : maxValueBytes
  }

  get watermarkMs(): number {
    return this.#options.event?.expiry.time.watermarkMs ?? -Infinity
  }

  /** Nothing is left under former ids. */
  forgetFormers(): void {
    const { event, indexes } = this.#options
    this.#formers = []
    this.#formerIds = []
    this.#isPlain = event === undefined && indexes.length === 0
  }

  /** Shows the value of a key where it lies, until the next call; which generation it is of, or `NONE`. */
  peek(key: AssembledKey, slot: Slot): number {
    const { entries } = this.#host
    if (this.#isPlain) return entries.peek(key, slot) ? PRESENT : NONE
    if (this.#isDeriving) throw this.#misused()
    if (entries.peek(key, slot)) {
      return this.#isLive(slot, this.#options.event !== undefined, key) ? PRESENT : NONE
    }
    const { id } = this.#options
    for (const [i, former] of this.#formers.entries()) {
      key.setState(former.id)
      const isThere = entries.peek(key, slot)
      key.setState(id)
      if (!isThere) continue
      if (!this.#isLive(slot, former.isStamped, key)) return NONE
      return former.read === undefined ? PRESENT : i + 1
    }
    // A writer in another process may have migrated it between these looks.
    if (this.#options.isWrittenElsewhere && this.#formers.length > 0 && entries.peek(key, slot)) {
      return this.#isLive(slot, this.#options.event !== undefined, key) ? PRESENT : NONE
    }
    return NONE
  }

  /** @param shown the slot in which `peek` of this key was the last to show something. */
  put(key: AssembledKey, value: ByteWriter, shown?: Slot): void {
    if (this.#isPlain) this.#host.entries.put(key, value, this.#put, shown)
    else this.putAs(key, value, this.#put, undefined)
  }

  /** The same, for what keeps the time at which it expires: by the engine's clock, and by event time. */
  putAs(key: AssembledKey, value: ByteWriter, put: PutOptions, expiresAtMs: number | undefined): void {
    const { event } = this.#options
    if (this.#isDeriving) throw this.#misused()
    if (event !== undefined) this.#checkLook(key)
    if (event === undefined && this.#formerIds.length === 0) this.#putIndexed(key, value, put)
    else this.#host.together(() => this.#putWhole(key, value, put, expiresAtMs))
    event?.expiry.payForWrite()
  }

  /** What a scanned entry of a stamped state says of its expiry, whether or not it has expired. */
  stampIn(storedKey: Uint8Array, value: Uint8Array): number {
    show(value, this.#old)
    return this.#stampOf(this.#old, storedKey)
  }

  /** The value of the present form under a key, as its owner's; `ABSENT` where there is none. */
  valueOf(key: AssembledKey): unknown {
    const slot = this.#old
    if (this.peek(key, slot) !== PRESENT) return ABSENT
    const reader = this.#reader.fromSlot(slot)
    try {
      const value = this.#options.codec.read(reader)
      reader.assertEnd()
      return value
    } catch (error) {
      throw this.#options.failure('read', error, key.copy())
    }
  }

  /** Writes the index entries of an entry that is there. */
  indexEntry(key: AssembledKey, index: EntryIndex, put: PutOptions): void {
    const move = present(this.#moves[this.indexes.indexOf(index)], 'an index of this state')
    if (!this.#peekIndexed(key)) return
    const isMoved = this.#derived(key, () =>
      move.compare(ABSENT, this.#valueBefore(key), true, key.stretch.length),
    )
    if (isMoved) move.apply(key, this.#host.entries, put)
  }

  remove(key: AssembledKey): void {
    if (this.#isPlain) this.#host.entries.remove(key)
    else if (this.#isDeriving) throw this.#misused()
    else this.#host.together(() => this.#removeWhole(key))
  }

  /** Removes every entry from one stored key up to, and without, another one. */
  removeRange(from: Uint8Array, until: Uint8Array): void {
    if (this.#isPlain) this.#host.entries.removeRange(from, until)
    else if (this.#isDeriving) throw this.#misused()
    else this.#host.together(() => this.#removeWholeRange(from, until))
  }

  /** Whether a scan may go from one stored key up to another one, over what lies between of other states: nothing is merged in. */
  isAtHand(from: Uint8Array, until: Uint8Array): boolean {
    return this.#formerIds.length === 0 && this.#host.isAtHand(from, until)
  }

  /** The entries of this state in any order, where the engine has them so sooner; `undefined` elsewhere. */
  unsorted(keyGroups: number): IterableIterator<Entry | undefined> | undefined {
    if (this.#formerIds.length > 0) return undefined
    const { id } = this.#options
    return this.#host.unsorted(
      (bytes, at, length) =>
        length >= PREFIX_BYTES && uint16(bytes, at) < keyGroups && uint16(bytes, at + 2) === id,
    )
  }

  /** The entries in ranges of this state, as they are stored; `shown` says what of each is the value. */
  scan(ranges: readonly ScanRange[]): IterableIterator<ScannedEntry> | AsyncIterableIterator<ScannedEntry> {
    return this.#host.scan(ranges, this.#formerIds)
  }

  /** The value of a scanned entry, and its generation; `undefined` where it has expired. */
  shown([storedKey, value, generation = PRESENT]: ScannedEntry): ShownValue | undefined {
    const former = generation === PRESENT ? undefined : this.#formers[generation - 1]
    const isStamped = former === undefined ? this.#options.event !== undefined : former.isStamped
    const of = former?.read === undefined ? PRESENT : generation
    if (!isStamped) return { bytes: value, generation: of }
    show(value, this.#old)
    if (!this.#isLive(this.#old, true, storedKey)) return undefined
    return { bytes: value.subarray(STAMP_BYTES), generation: of }
  }

  expiresAtMs(key: AssembledKey): number | undefined {
    const slot = this.#old
    return this.#host.entries.peek(key, slot) ? this.#stampOf(slot, key) : undefined
  }

  expire(key: AssembledKey): void {
    const { entries } = this.#host
    if (this.#moves.length > 0) this.#moveIndexes(key, undefined, this.#put)
    entries.remove(key)
  }

  #putWhole(key: AssembledKey, value: ByteWriter, put: PutOptions, expiresAtMs: number | undefined): void {
    const { event, indexes, id } = this.#options
    const { entries } = this.#host
    if (event !== undefined || indexes.length > 0) {
      if (indexes.length > 0) this.#moveIndexes(key, value, put)
      if (event === undefined) entries.put(key, value, put)
      else this.#putStamped(key, value, event, expiresAtMs)
    } else {
      entries.put(key, value, put)
    }
    for (const former of this.#formerIds) {
      key.setState(former)
      entries.remove(key)
    }
    key.setState(id)
  }

  /** Where no index entry moves, an indexed entry is written as any other one. */
  #putIndexed(key: AssembledKey, value: ByteWriter, put: PutOptions): void {
    if (!this.#indexesMove(key, value, put)) {
      this.#host.entries.put(key, value, put)
      return
    }
    this.#host.together(() => {
      this.#applyMoves(key, put)
      this.#host.entries.put(key, value, put)
    })
  }

  #moveIndexes(key: AssembledKey, next: ByteWriter | undefined, put: PutOptions): void {
    if (this.#indexesMove(key, next, put)) this.#applyMoves(key, put)
  }

  /** Compares what the indices have for an entry with what they should have once it is written, or removed. */
  #indexesMove(key: AssembledKey, next: ByteWriter | undefined, put: PutOptions): boolean {
    const isThere = this.#peekIndexed(key)
    return this.#derived(key, () => {
      const before = isThere ? this.#valueBefore(key) : ABSENT
      const after = next === undefined ? ABSENT : this.#valueAfter(key, next)
      let isMoved = false
      for (const move of this.#moves) {
        if (move.compare(before, after, put.ttlMs !== Infinity, key.stretch.length)) isMoved = true
      }
      return isMoved
    })
  }

  #applyMoves(key: AssembledKey, put: PutOptions): void {
    for (const move of this.#moves) move.apply(key, this.#host.entries, put)
  }

  /** Runs functions of indices. What they have against the values is the failure of an entry. */
  #derived(key: AssembledKey, derive: () => boolean): boolean {
    this.#isDeriving = true
    this.#misuse = undefined
    let isMoved = false
    try {
      isMoved = derive()
    } catch (error) {
      if (!isCodecError(error)) throw error
      throw this.#options.failure(error.direction ?? 'write', error, key.copy())
    } finally {
      this.#isDeriving = false
    }
    // The function may have caught it; but the key of the entry at hand is lost.
    const misuse = this.#misuse
    if (misuse !== undefined) throw misuse
    return isMoved
  }

  #misused(): StateError {
    this.#misuse = new StateError('TRANSACTION_FAILED', {
      operation: `a call of state '${this.#options.name}'`,
      reason: 'it was made within the function of an index of the same state',
    })
    return this.#misuse
  }

  /** Before anything is written: whether the key has room for what is added to it in a look entry. */
  #checkLook(key: AssembledKey): void {
    const { length } = key.stretch
    if (length + LOOK_BYTES <= MAX_KEY_BYTES) return
    try {
      checkStoredLength(length + LOOK_BYTES)
    } catch (error) {
      throw this.#options.failure('write', error, key.copy())
    }
  }

  #putStamped(
    key: AssembledKey,
    value: ByteWriter,
    event: NonNullable<StateEntriesOptions['event']>,
    given: number | undefined,
  ): void {
    const { expiry } = event
    const before = this.expiresAtMs(key)
    const expiresAtMs = given ?? expiryOf(event, before)
    const to = this.#stamped
    to.length = 0
    int64.write(expiresAtMs, to)
    to.append(value.bytes.subarray(0, value.length))
    expiry.move(key, before, expiresAtMs, this.lookStepMs)
    this.#host.entries.put(key, to, this.#put)
  }

  #removeWhole(key: AssembledKey): void {
    const { event, indexes, id } = this.#options
    const { entries } = this.#host
    if (event !== undefined || indexes.length > 0) {
      if (indexes.length > 0) this.#moveIndexes(key, undefined, this.#put)
      event?.expiry.move(key, this.expiresAtMs(key), undefined, this.lookStepMs)
    }
    entries.remove(key)
    for (const former of this.#formerIds) {
      key.setState(former)
      entries.remove(key)
    }
    key.setState(id)
  }

  #removeWholeRange(from: Uint8Array, until: Uint8Array): void {
    const { event, indexes, id } = this.#options
    const { entries } = this.#host
    if (event !== undefined || indexes.length > 0) {
      for (const [bytes] of Array.from(entries.list(from, until))) this.#removeWhole(new GivenKey(bytes))
    }
    for (const each of [id, ...this.#formerIds]) {
      const { gte, lt } = rangeOfState({ gte: from, lt: until }, each)
      entries.removeRange(gte as Uint8Array, lt as Uint8Array)
    }
  }

  /**
   * Looks up what the indices have of a key: the value in the present form, expired or not; what a former generation has is in no
   * index. Returns whether there is one; `#valueBefore` is then that value.
   */
  #peekIndexed(key: AssembledKey): boolean {
    return this.#host.entries.peek(key, this.#old)
  }

  #valueBefore(key: AssembledKey): unknown {
    const { bytes, view, offset, length } = this.#old
    const skip = this.#options.event === undefined ? 0 : STAMP_BYTES
    try {
      return this.#before.show(bytes, view, offset + skip, length - skip)
    } catch (error) {
      throw this.#options.failure('read', error, key.copy())
    }
  }

  #valueAfter(key: AssembledKey, { bytes, view, length }: ByteWriter): unknown {
    try {
      return this.#after.show(bytes, view, 0, length)
    } catch (error) {
      throw this.#options.failure('read', error, key.copy())
    }
  }

  /** Whether the value is to be seen; its stamp is then behind. */
  #isLive(slot: Slot, isStamped: boolean, key: AssembledKey | Uint8Array): boolean {
    if (!isStamped) return true
    const expiresAtMs = this.#stampOf(slot, key)
    // Without an event time of its own any more, a state shows what it has.
    const watermarkMs = this.#options.event?.expiry.time.watermarkMs ?? -Infinity
    if (expiresAtMs <= watermarkMs) return false
    slot.offset += STAMP_BYTES
    slot.length -= STAMP_BYTES
    return true
  }

  #stampOf(slot: Slot, key: AssembledKey | Uint8Array): number {
    if (slot.length >= STAMP_BYTES) return int64.load(slot.view, slot.offset)
    const storedKey = 'stretch' in key ? key.copy() : key
    throw this.#options.failure(
      'read',
      new CodecError('a value without the time at which it expires'),
      storedKey,
    )
  }
}

function expiryOf(
  { expiry: { time }, afterMs }: NonNullable<StateEntriesOptions['event']>,
  beforeMs: number | undefined,
): number {
  const afterwards = saturated(time.writtenAtMs() + afterMs)
  if (beforeMs === undefined) return afterwards
  // An event that comes late does not shorten what a later one has given; but no entry outlives the policy of now.
  return Math.max(afterwards, Math.min(beforeMs, saturated(time.highestMs + afterMs)))
}

const uint16 = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] as number) << 8) | (bytes[at + 1] as number)

/** Throws where a value is too long to be stored: to an engine that would be a wrong argument of whoever writes it. */
export function checkValueLength(length: number, most: number): void {
  if (length > most) throw new CodecError(`a value of ${length} bytes; the limit is ${most}`)
}

/** The value of an entry that was scanned. */
export interface ShownValue {
  readonly bytes: Uint8Array
  readonly generation: number
}

const saturated = (timeMs: number): number => Math.min(timeMs, Number.MAX_SAFE_INTEGER)

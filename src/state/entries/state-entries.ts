// What one state reads and writes: its entries, and what belongs to them.
//
// (1) A state that has been given another encoded form has another id; what the earlier form (a former generation) has written
//     stays under the earlier id until it is migrated or written anew. Under one key, the newest generation's entry counts.
// (2) Whatever is written or removed under the present id is removed under the former ones, in the same step.
// (3) A state that expires by event time has a stamp in front of each value, and a look entry (time/event-expiry.ts).
// (4) Index entries are written and removed in the same step as the entry that they point to.

import type { PutOptions, ScanRange } from '../../backend/types.js'
import { StateError } from '../../base/errors.js'
import { Slot } from '../../base/slot.js'
import { type ByteReader, ByteWriter } from '../codec/bytes.js'
import { int64 } from '../codec/numbers.js'
import { GivenKey } from '../key/stored-key.js'
import type { Decoded, EntryIndex, IndexChange } from '../query/entry-index.js'
import { type EventExpiry, type ExpiringState, STAMP_BYTES } from '../time/event-expiry.js'
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
  /** The value that lies in bytes of the present form. */
  readonly decode: (bytes: Uint8Array) => unknown
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

  constructor(host: Host, options: StateEntriesOptions) {
    const { event, formers, indexes } = options
    this.#host = host
    this.#options = options
    this.#formers = formers
    this.#formerIds = formers.map(({ id }) => id)
    this.#isPlain = event === undefined && formers.length === 0 && indexes.length === 0
    this.#put = options.put
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
    if (entries.peek(key, slot)) return this.#isLive(slot, this.#options.event !== undefined) ? PRESENT : NONE
    const { id } = this.#options
    for (const [i, former] of this.#formers.entries()) {
      key.setState(former.id)
      const isThere = entries.peek(key, slot)
      key.setState(id)
      if (!isThere) continue
      if (!this.#isLive(slot, former.isStamped)) return NONE
      return former.read === undefined ? PRESENT : i + 1
    }
    return NONE
  }

  put(key: AssembledKey, value: ByteWriter): void {
    if (this.#isPlain) this.#host.entries.put(key, value, this.#put)
    else this.putAs(key, value, this.#put, undefined)
  }

  /** The same, for what keeps the time at which it expires: by the engine's clock, and by event time. */
  putAs(key: AssembledKey, value: ByteWriter, put: PutOptions, expiresAtMs: number | undefined): void {
    const { event } = this.#options
    // Where no index entry moves, an indexed entry is written as any other one.
    if (event === undefined && this.#formerIds.length === 0) this.#putIndexed(key, value, put)
    else this.#host.together(() => this.#putWhole(key, value, put, expiresAtMs))
    event?.expiry.payForWrite()
  }

  /** What a scanned entry of a stamped state says of its expiry, whether or not it has expired. */
  stampIn(value: Uint8Array): number {
    show(value, this.#old)
    return this.#stampOf(this.#old)
  }

  /** The value of the present form under a key; `undefined` where there is none. */
  valueOf(key: AssembledKey): Decoded | undefined {
    const slot = this.#old
    if (this.peek(key, slot) !== PRESENT) return undefined
    return { value: this.#options.decode(slot.bytes.subarray(slot.offset, slot.offset + slot.length)) }
  }

  /** Writes the index entries of an entry that is there. */
  indexEntry(key: AssembledKey, index: EntryIndex, put: PutOptions): void {
    const value = this.#present(key)
    if (value !== undefined) index.apply(index.changes(key, undefined, value, true), put)
  }

  remove(key: AssembledKey): void {
    if (this.#isPlain) this.#host.entries.remove(key)
    else this.#host.together(() => this.#removeWhole(key))
  }

  /** Removes every entry from one stored key up to, and without, another one. */
  removeRange(from: Uint8Array, until: Uint8Array): void {
    if (this.#isPlain) this.#host.entries.removeRange(from, until)
    else this.#host.together(() => this.#removeWholeRange(from, until))
  }

  /** The entries in ranges of this state, as they are stored; `shown` says what of each is the value. */
  scan(ranges: readonly ScanRange[]): IterableIterator<ScannedEntry> | AsyncIterableIterator<ScannedEntry> {
    return this.#host.scan(ranges, this.#formerIds)
  }

  /** The value of a scanned entry, and its generation; `undefined` where it has expired. */
  shown([, value, generation = PRESENT]: ScannedEntry): ShownValue | undefined {
    const former = generation === PRESENT ? undefined : this.#formers[generation - 1]
    const isStamped = former === undefined ? this.#options.event !== undefined : former.isStamped
    const of = former?.read === undefined ? PRESENT : generation
    if (!isStamped) return { bytes: value, generation: of }
    show(value, this.#old)
    return this.#isLive(this.#old, true) ? { bytes: value.subarray(STAMP_BYTES), generation: of } : undefined
  }

  expiresAtMs(key: AssembledKey): number | undefined {
    const slot = this.#old
    return this.#host.entries.peek(key, slot) ? this.#stampOf(slot) : undefined
  }

  expire(key: AssembledKey): void {
    const { entries } = this.#host
    if (this.#options.indexes.length > 0) this.#changeIndexes(key, undefined, this.#put)
    entries.remove(key)
  }

  #putWhole(key: AssembledKey, value: ByteWriter, put: PutOptions, expiresAtMs: number | undefined): void {
    const { event, indexes, id } = this.#options
    const { entries } = this.#host
    if (event !== undefined || indexes.length > 0) {
      if (indexes.length > 0) this.#changeIndexes(key, value, put)
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

  #putIndexed(key: AssembledKey, value: ByteWriter, put: PutOptions): void {
    const changes = this.#indexChanges(key, value, put)
    if (changes === undefined) {
      this.#host.entries.put(key, value, put)
      return
    }
    this.#host.together(() => {
      for (const { index, changes: each } of changes) index.apply(each, put)
      this.#host.entries.put(key, value, put)
    })
  }

  #changeIndexes(key: AssembledKey, next: ByteWriter | undefined, put: PutOptions): void {
    for (const { index, changes } of this.#indexChanges(key, next, put) ?? []) index.apply(changes, put)
  }

  /** What becomes of the index entries of an entry that is written, or removed; `undefined` where they stay as they are. */
  #indexChanges(
    key: AssembledKey,
    next: ByteWriter | undefined,
    put: PutOptions,
  ): { readonly index: EntryIndex; readonly changes: readonly IndexChange[] }[] | undefined {
    const { indexes, decode } = this.#options
    const before = this.#present(key)
    const after = next === undefined ? undefined : { value: decode(next.bytes.subarray(0, next.length)) }
    let found: { readonly index: EntryIndex; readonly changes: readonly IndexChange[] }[] | undefined
    for (const index of indexes) {
      const changes = index.changes(key, before, after, put.ttlMs !== Infinity)
      if (changes.length === 0) continue
      found ??= []
      found.push({ index, changes })
    }
    return found
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
      if (indexes.length > 0) this.#changeIndexes(key, undefined, this.#put)
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

  /** The value of the present form under a key, expired or not; what a former generation has is in no index. */
  #present(key: AssembledKey): Decoded | undefined {
    const slot = this.#old
    if (!this.#host.entries.peek(key, slot)) return undefined
    const skip = this.#options.event === undefined ? 0 : STAMP_BYTES
    return { value: this.#options.decode(slot.bytes.subarray(slot.offset + skip, slot.offset + slot.length)) }
  }

  /** Whether the value is to be seen; its stamp is then behind. */
  #isLive(slot: Slot, isStamped: boolean): boolean {
    if (!isStamped) return true
    const expiresAtMs = this.#stampOf(slot)
    // Without an event time of its own any more, a state shows what it has.
    const watermarkMs = this.#options.event?.expiry.time.watermarkMs ?? -Infinity
    if (expiresAtMs <= watermarkMs) return false
    slot.offset += STAMP_BYTES
    slot.length -= STAMP_BYTES
    return true
  }

  #stampOf(slot: Slot): number {
    if (slot.length >= STAMP_BYTES) return int64.load(slot.view, slot.offset)
    throw new StateError('DESERIALIZATION_FAILED', {
      what: `state '${this.#options.name}'`,
      reason: 'a value without the time at which it expires',
    })
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

/** The value of an entry that was scanned. */
export interface ShownValue {
  readonly bytes: Uint8Array
  readonly generation: number
}

const saturated = (timeMs: number): number => Math.min(timeMs, Number.MAX_SAFE_INTEGER)

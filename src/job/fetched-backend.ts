// The face of an asynchronous engine for the steps of a job, which read and write at once: a step runs over what was fetched so far; where
// something is missing it ends there, that is fetched, and it runs again from its beginning.
//
//   what a step reads: the batch of the step · what steps have written since the last commit · what was fetched
//
// (1) A step that has missed something leaves nothing behind: whatever it goes on to do fails, and its batch is not applied.
// (2) What steps have written is one batch at the next commit: the engine has the state between two steps, and the record of it.
// (3) Nobody else writes: what was fetched stays true. A batch that the record of another owner has come before is refused (`FENCED`).

import {
  isInInterval,
  type KeyInterval,
  type KeyStretch,
  keyInterval,
  keyStretch,
} from '../backend/scan-range.js'
import type { StagedWrite, StagingBackend, StateBackend, SyncStateBackend } from '../backend/state-backend.js'
import type { SyncStateSnapshot } from '../backend/state-snapshot.js'
import type {
  BackendStats,
  BackendSupport,
  Entry,
  KeyRange,
  PutOptions,
  ScanRange,
} from '../backend/types.js'
import { OperationKind, WriteBatch } from '../backend/write-batch.js'
import { copyBytes, equalBytes } from '../base/bytes.js'
import { isStateError, StateError } from '../base/errors.js'
import { plainKey, Slot, type Stretch } from '../base/slot.js'
import { Suspension } from '../state/entries/entries.js'
import type { PartlyAtHand } from '../state/entries/host.js'
import { nameOf, Overlay } from '../state/entries/overlay.js'
import { GivenKey } from '../state/key/stored-key.js'
import { WAITS, type WaitFor } from './job-opening.js'

/** So many entries that were fetched are kept for later steps, the newest; a step may need more. */
const KEPT_ENTRIES = 100_000
/** Of more ranges that were removed at once nothing is looked up: all that was fetched is forgotten. */
const REMOVALS_LOOKED_AT = 16
/** So many keys are asked for at once. */
const KEYS_AT_ONCE = 1_000
/** Between two steps, so many bytes of values need not wait for those of others: an engine may take four times as many at once, as that of Redis does. */
const MUCH_BYTES = 16 * 1024 * 1024

export interface FetchedBackendOptions {
  /** The record that every commit replaces: only its owner may write. `undefined`: something else sees to that. */
  readonly recordKey: Uint8Array | undefined
  /** Whether entries may expire by the engine's clock: what was fetched is then forgotten with each commit. */
  readonly mayExpire: boolean
}

/** What was fetched of a range. */
interface FetchedRange extends KeyStretch {
  readonly entries: readonly Entry[]
}

export class FetchedBackend implements SyncStateBackend, StagingBackend, PartlyAtHand {
  readonly name: string
  readonly supports: BackendSupport
  readonly #engine: StateBackend
  readonly #options: FetchedBackendOptions
  /** What the engine has; `undefined`: nothing. */
  readonly #fetched = new Map<string, Uint8Array | undefined>()
  #ranges: FetchedRange[] = []
  /** Entries that are always at hand, as the engine has them. */
  readonly #pinned = new Map<string, Uint8Array | undefined>()
  /** What steps have written. */
  #written: Overlay
  #hasWritten = false
  /** Bytes of the values among that, also of those that were written again. */
  #writtenBytes = 0
  /** What the step at hand has missed. */
  #missedKeys = new Map<string, Uint8Array>()
  #missedRanges: KeyStretch[] = []
  #record: Uint8Array | undefined
  #waitFor: WaitFor = WAITS
  readonly #slot = new Slot()

  constructor(engine: StateBackend, options: FetchedBackendOptions) {
    this.#engine = engine
    this.#options = options
    this.name = engine.name
    this.supports = Object.freeze({ ...engine.supports, sync: true, inPlace: false, sharing: false })
    this.#written = this.#newOverlay()
  }

  /** How steps wait for the engine from now on. Before: for as long as it takes. */
  waitBy(waitFor: WaitFor): void {
    this.#waitFor = waitFor
  }

  /** Whether the step at hand has missed something. */
  get hasMissed(): boolean {
    return this.#missedKeys.size > 0 || this.#missedRanges.length > 0
  }

  /** Fetches what the last step has missed. */
  async fetch(): Promise<void> {
    const keys = [...this.#missedKeys.values()]
    const ranges = this.#missedRanges
    this.#missedKeys = new Map()
    this.#missedRanges = []
    await this.prefetch(keys)
    for (const range of ranges) {
      await this.preload(range)
      const entries = this.#ranges.at(-1)?.entries ?? []
      for (const [key, value] of entries) this.#fetched.set(nameOf(key), value)
    }
  }

  /** Fetches entries that steps will want, as far as they are not at hand. */
  async prefetch(keys: Iterable<Uint8Array>): Promise<void> {
    const wanted = new Map<string, Uint8Array>()
    for (const key of keys) {
      const name = nameOf(key)
      if (!this.#fetched.has(name)) wanted.set(name, key)
    }
    const all = [...wanted.values()]
    for (let from = 0; from < all.length; from += KEYS_AT_ONCE) {
      const some = all.slice(from, from + KEYS_AT_ONCE)
      const values = await this.#waitFor('the engine to read', () => this.#engine.getMany(some))
      for (const [i, key] of some.entries()) this.#fetched.set(nameOf(key), values[i])
    }
  }

  /** Fetches an entry that is asked for between steps, and keeps it at hand. */
  async pin(key: Uint8Array): Promise<void> {
    this.#pinned.set(nameOf(key), await this.#engine.get(key))
  }

  /** Fetches all of a range, until the next commit. */
  async preload({ from, until }: KeyStretch): Promise<void> {
    const entries: Entry[] = []
    const range = until === undefined ? { gte: from } : { gte: from, lt: until }
    await this.#waitFor('the engine to scan', async () => {
      for await (const entry of this.#engine.scan(range)) entries.push(entry)
    })
    this.#ranges.push({ from, until, entries })
  }

  /** Whether steps have written so much that it should not wait for what others write. */
  get hasWrittenMuch(): boolean {
    return this.#writtenBytes >= MUCH_BYTES
  }

  /** Writes what steps have written, as one batch. `FENCED` where another owner has written meanwhile. */
  async commit(): Promise<void> {
    if (!this.#hasWritten) return
    const { recordKey, mayExpire } = this.#options
    const written = this.#written
    const record = recordKey === undefined ? undefined : written.valueOf(recordKey)
    const batch = new WriteBatch()
    if (recordKey !== undefined && record !== undefined) batch.expect(recordKey, this.#record)
    written.addTo(batch)
    try {
      await this.#waitFor('the engine to write', () => this.#engine.write(batch))
    } catch (error) {
      throw recordKey !== undefined && isOther(error, recordKey) ? this.#fenced(error) : error
    }
    this.#record = record ?? this.#record
    this.#hasWritten = false
    this.#writtenBytes = 0
    this.#written = this.#newOverlay()
    this.#ranges = []
    for (const { key, value } of written.writes()) {
      const name = nameOf(key)
      if (this.#pinned.has(name)) this.#pinned.set(name, value)
    }
    if (mayExpire || written.removals.length > REMOVALS_LOOKED_AT) {
      this.#fetched.clear()
    } else {
      for (const { gte, lt } of written.removals) this.#forget(nameOf(gte), nameOf(lt))
      for (const { key, value } of written.writes()) {
        const name = nameOf(key)
        this.#fetched.delete(name)
        this.#fetched.set(name, value)
      }
    }
    for (const name of this.#fetched.keys()) {
      if (this.#fetched.size <= KEPT_ENTRIES) break
      this.#fetched.delete(name)
    }
  }

  getSync(key: Uint8Array | Stretch): Uint8Array | undefined {
    this.#assertNothingMissed()
    const slot = this.#slot
    if (!this.#written.peek(new GivenKey(plainKey(key)), slot)) return undefined
    return slot.bytes.slice(slot.offset, slot.offset + slot.length)
  }

  getManySync(keys: readonly Uint8Array[]): (Uint8Array | undefined)[] {
    return keys.map((key) => this.getSync(key))
  }

  getOrThrowSync(key: Uint8Array): Uint8Array {
    const value = this.getSync(key)
    if (value === undefined) throw new StateError('KEY_NOT_FOUND', { key: copyBytes(key) })
    return value
  }

  containsSync(key: Uint8Array | Stretch): boolean {
    return this.getSync(key) !== undefined
  }

  putSync(key: Uint8Array | Stretch, value: Uint8Array, options?: PutOptions): void {
    this.#assertNothingMissed()
    this.#hasWritten = true
    this.#writtenBytes += value.length
    const copy = copyBytes(value)
    this.#written.put(new GivenKey(copyBytes(plainKey(key))), { copy: () => copy }, options)
  }

  deleteSync(key: Uint8Array | Stretch): void {
    this.#assertNothingMissed()
    this.#hasWritten = true
    this.#written.remove(new GivenKey(copyBytes(plainKey(key))))
  }

  deleteRangeSync(range: KeyRange): void {
    this.#assertNothingMissed()
    this.#deleteRange(keyStretch(range))
  }

  /** Of a step. Expectations have no place in it: nobody else writes. */
  writeSync(batch: WriteBatch): void {
    this.#assertNothingMissed()
    const cursor = batch.cursor()
    while (cursor.next()) {
      if (cursor.kind === OperationKind.PUT) {
        const { ttlMs } = cursor
        this.putSync(cursor.key(), cursor.value(), ttlMs === undefined ? undefined : { ttlMs })
      } else if (cursor.kind === OperationKind.DELETE) this.deleteSync(cursor.key())
      else if (cursor.kind === OperationKind.DELETE_RANGE) this.#deleteRange(cursor.interval())
      else throw new Error('a step of a job expects nothing')
    }
  }

  scanSync(range?: ScanRange): IterableIterator<Entry> {
    return this.#scan(keyInterval(range)).values()
  }

  /** In one step there is one instant. */
  snapshotSync(): SyncStateSnapshot {
    const snapshot = {
      scanSync: (range?: ScanRange) => this.scanSync(range),
      getSync: (key: Uint8Array) => this.getSync(key),
      closeSync: () => {},
    }
    return snapshot as unknown as SyncStateSnapshot
  }

  stage(): StagedWrite {
    const batches: WriteBatch[] = []
    return {
      add: (batch) => void batches.push(batch.copy()),
      apply: () => {
        for (const batch of batches) this.writeSync(batch)
      },
      drop: () => {},
    }
  }

  async snapshot(): Promise<SyncStateSnapshot> {
    return this.snapshotSync()
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#engine.get(key)
  }

  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return this.#engine.getMany(keys)
  }

  getOrThrow(key: Uint8Array): Promise<Uint8Array> {
    return this.#engine.getOrThrow(key)
  }

  put(key: Uint8Array, value: Uint8Array, options?: PutOptions): Promise<void> {
    return this.#engine.put(key, value, options)
  }

  delete(key: Uint8Array): Promise<void> {
    return this.#engine.delete(key)
  }

  contains(key: Uint8Array): Promise<boolean> {
    return this.#engine.contains(key)
  }

  write(batch: WriteBatch): Promise<void> {
    return this.#engine.write(batch)
  }

  scan(range?: ScanRange): AsyncIterableIterator<Entry> {
    return this.#engine.scan(range)
  }

  listKeys(prefix: Uint8Array): Promise<Uint8Array[]> {
    return this.#engine.listKeys(prefix)
  }

  count(): Promise<number> {
    return this.#engine.count()
  }

  clear(): Promise<void> {
    return this.#engine.clear()
  }

  deleteRange(range: KeyRange): Promise<void> {
    return this.#engine.deleteRange(range)
  }

  /** Of what was committed. */
  flush(): Promise<void> {
    return this.#engine.flush()
  }

  stats(): BackendStats {
    return this.#engine.stats()
  }

  /** It is the caller's to close. */
  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}

  forgetRanges(): void {
    this.#ranges = []
  }

  /** Begins with the record that the job has found. */
  beginWith(record: Uint8Array | undefined): void {
    this.#record = record
  }

  #newOverlay(): Overlay {
    return new Overlay({
      peek: (key, slot) => {
        const view = key.view()
        const name = nameOf(view)
        const value = this.#fetched.get(name) ?? this.#pinned.get(name)
        if (value === undefined && this.#pinned.has(name)) return false
        if (value === undefined && !this.#fetched.has(name)) {
          this.#miss(view)
        }
        return value !== undefined && showValue(value, slot)
      },
      list: (from, until) => this.#fetchedIn({ from, until }),
    })
  }

  /** Names are in the order of the bytes that they stand for. */
  #forget(from: string, until: string): void {
    for (const name of this.#fetched.keys()) if (name >= from && name < until) this.#fetched.delete(name)
  }

  #miss(key: Uint8Array): never {
    this.#missedKeys.set(nameOf(key), copyBytes(key))
    this.#suspend()
  }

  #suspend(): never {
    throw new Suspension(Promise.resolve())
  }

  #assertNothingMissed(): void {
    if (this.hasMissed) this.#suspend()
  }

  #deleteRange({ from, until }: KeyStretch): void {
    if (until === undefined) throw new Error('a step removes ranges with an end')
    this.#hasWritten = true
    this.#written.removeRange(from, until)
  }

  #scan({ from, until, reverse, limit }: KeyInterval): Entry[] {
    this.#assertNothingMissed()
    const end = until ?? LAST_KEY
    const entries = Array.from(
      this.#written.list(from, end),
      ([key, value]): Entry => [copyBytes(key), copyBytes(value)],
    )
    if (reverse) entries.reverse()
    return limit === Infinity ? entries : entries.slice(0, limit)
  }

  isAtHand(from: Uint8Array, until: Uint8Array): boolean {
    return this.#rangeAround({ from, until }) !== undefined
  }

  #fetchedIn(stretch: KeyStretch): readonly Entry[] {
    const range = this.#rangeAround(stretch)
    if (range !== undefined) return range.entries.filter(([key]) => isInInterval(key, stretch))
    this.#missedRanges.push(stretch)
    this.#suspend()
  }

  /** What was fetched that has all of a stretch. */
  #rangeAround({ from, until }: KeyStretch): FetchedRange | undefined {
    return this.#ranges.find(
      (range) => isInInterval(from, range) && (range.until === undefined || isNotBehind(until, range.until)),
    )
  }

  #fenced(cause: unknown): StateError<'FENCED'> {
    const details = {
      resource: `the state of a job in '${this.name}'`,
      owner: 'another process, which has written since',
    }
    return new StateError('FENCED', details, { cause })
  }
}

/** Behind all keys of a store. */
const LAST_KEY = new Uint8Array(32).fill(0xff)

function isOther(error: unknown, recordKey: Uint8Array): boolean {
  return isStateError(error, 'CONCURRENT_MODIFICATION') && equalBytes(error.details.key, recordKey)
}

function isNotBehind(until: Uint8Array | undefined, end: Uint8Array): boolean {
  return until !== undefined && Buffer.compare(until, end) <= 0
}

function showValue(value: Uint8Array, slot: Slot): true {
  slot.bytes = value
  slot.view = new DataView(value.buffer, value.byteOffset, value.byteLength)
  slot.offset = 0
  slot.length = value.length
  return true
}

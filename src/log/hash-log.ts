// The log: entries in shared memory, the latest one of each key found by hash, older versions kept for snapshots.
// (After FASTER: Chandramouli et al., SIGMOD 2018; with epochs instead of its read-only boundary: decision 8.)
//
// (1) Every write stamps its entry with the current epoch; taking a snapshot ends the epoch. A snapshot of epoch e sees,
//     of each key, the newest version whose epoch is at most e.
// (2) An entry is overwritten in place while its epoch is above that of the newest open snapshot; otherwise a write
//     appends a new version that points back to what a snapshot may still see.
// (3) While an open snapshot can still see a key, or somebody asks for changes since a base that knows it, deleting it leaves a
//     tombstone. When a snapshot closes, versions and tombstones that only it needed are removed, as writes pay for it.
// (4) A segment without living entries is released once nobody is left who has begun to read while it was there.
// (5) What a snapshot sees is, at its instant, exactly what is not buried. While it is open these entries stay where they
//     are and as they are, but for being buried. So another thread can read them, if it is told what was buried since.

import { assert } from '../base/assert.js'
import type { ForwardClock } from '../base/clock.js'
import type { SlicedWork } from '../base/slices.js'
import { copyViewed, type Slot, type ViewedBytes } from '../base/slot.js'
import { Compactor } from './compactor.js'
import { copyInto, Entries, GONE, type LyingEntry, NO_ROOM } from './entries.js'
import { EntryExpiry, type OnExpired } from './entry-expiry.js'
import { NO_BUCKET } from './expiry-queue.js'
import type { HashLogOptions } from './hash-log-options.js'
import type { ChangeTracker } from './history/change-tracker.js'
import { LogHistory } from './history/log-history.js'
import { Remains } from './history/remains.js'
import { SnapshotEpochs } from './history/snapshot-epochs.js'
import { HashIndex } from './index/hash-index.js'
import { KeyProbe } from './index/key-probe.js'
import { UnindexedEntries } from './index/unindexed-entries.js'
import { assertLittleEndian, entryUnits, FLAG_FRESH, FLAG_TOMBSTONE, OFFSET_BITS } from './layout.js'
import { type LogMemory, memoryOf } from './log-memory.js'
import { LogSpace } from './log-space.js'
import { LogTail } from './log-tail.js'
import { NearKeys } from './near-keys.js'
import { KeyOrder } from './order/key-order.js'
import { LatestVersions } from './order/latest-versions.js'
import { OrderedIndex } from './order/ordered-index.js'
import { Removals } from './removals.js'
import { SegmentTable, type SharedSegment } from './segment-table.js'
import type { LogImage } from './share/log-image.js'
import { Upkeep } from './upkeep.js'

const NO_VALUE = new Uint8Array(0)
/** In the place of the length of a key. */
const NOT_WRITTEN = -1
/** A full log compacts segments of which at least this share is dead. */
const RECLAIM_SHARE = 1 / 16

export class HashLog {
  readonly entries: Entries
  readonly ordered: OrderedIndex
  readonly history: LogHistory
  readonly #options: HashLogOptions
  readonly #clock: ForwardClock | undefined
  readonly #segments: SegmentTable
  readonly #index: HashIndex = new HashIndex()
  readonly #epochs: SnapshotEpochs
  readonly #changes: ChangeTracker
  readonly #tail: LogTail
  readonly #space: LogSpace
  readonly #compactor: Compactor
  readonly #expiry: EntryExpiry
  readonly #removals: Removals
  readonly #remains: Remains
  readonly #upkeep: Upkeep
  /** What was appended and is not indexed yet. */
  readonly appended: UnindexedEntries = new UnindexedEntries()
  /** The key of the call at hand. */
  readonly #probe: KeyProbe
  readonly #near: NearKeys
  /** The key that maintenance is looking at, so that it never disturbs a call. */
  readonly #chore: KeyProbe
  /** What `seekAhead` has found last, … */
  #seekedAhead = 0
  /** … which holds for the key at hand as long as the index has had so many changes; -1: it holds no more. */
  #seekedAheadAt = -1

  constructor(options: HashLogOptions) {
    assertLittleEndian()
    this.#options = options
    this.#clock = options.clock
    this.#epochs = options.epochs ?? new SnapshotEpochs()
    this.#segments = new SegmentTable(options.maxBytes, options.pool)
    this.entries = new Entries(this.#segments)
    this.#probe = new KeyProbe(this.#segments, options.hashKey)
    this.#chore = new KeyProbe(this.#segments, options.hashKey)
    this.#near = new NearKeys(this.#index, this.entries, new KeyProbe(this.#segments, options.hashKey))
    this.ordered = new OrderedIndex(new KeyOrder(this.#segments), {
      tables: () => this.#index.tables(),
      latest: (address) => this.latest(address),
      released: (number) => this.history.retire(number),
    })
    this.history = new LogHistory(this.#epochs, this.#segments, this.entries, {
      hasRoomForList: (bytes) => this.#space.hasRoomBeside(bytes),
      keys: () => this.keys,
      hasTombstones: () => this.#removals.tombstoneCount > 0 && options.covers !== true,
    })
    this.#changes = this.history.changes
    this.#expiry = new EntryExpiry(this.entries, this.#index, options)
    this.#tail = new LogTail(this.#segments, this.entries, this.history, {
      isTarget: (segment) => this.#compactor.isTarget(segment),
      retire: (segment) => {
        this.#compactor.forget(segment)
        this.ordered.segmentDied(segment)
      },
    })
    this.#removals = new Removals({
      segments: this.#segments,
      entries: this.entries,
      index: this.#index,
      epochs: this.#epochs,
      history: this.history,
      tail: this.#tail,
      chore: this.#chore,
      covers: options.covers === true,
    })
    this.#space = new LogSpace(this.#segments, this.#index, this.#tail, options.maxBytes !== Infinity, {
      besideBytes: () =>
        this.#expiry.byteLength + this.ordered.byteLength + this.history.byteLength + options.besideBytes(),
      clearAway: () => {
        this.sweep(Infinity)
        this.#remains.remove(Infinity)
      },
      compact: () => this.#compactor.reclaim(RECLAIM_SHARE),
      giveUpOrder: () => this.ordered.giveUp(),
      giveUpTracking: () => this.#changes.abandon(),
    })
    this.#compactor = new Compactor({
      segments: this.#segments,
      entries: this.entries,
      tail: this.#tail,
      space: this.#space,
      changes: this.#changes,
      moved: (from, to) => {
        this.#find(from)
        this.#index.replace(this.#chore, to)
      },
    })
    this.#remains = new Remains(this.history, this.#epochs, this.entries, this.#index, {
      covers: options.covers === true,
      dropTombstone: (address) => this.#removals.dropTombstone(address),
    })
    this.#upkeep = new Upkeep(
      {
        space: this.#space,
        compactor: this.#compactor,
        ordered: this.ordered,
        history: this.history,
        remains: this.#remains,
        expiry: this.#expiry,
      },
      this.#expire,
    )
  }

  /** Keys that are there, those that have expired and were not removed yet included. */
  get count(): number {
    return this.#index.count - this.#removals.tombstoneCount
  }

  /** Keys that the log knows, those covered by tombstones included. */
  get keys(): number {
    return this.#index.count
  }

  /** It knows no key, and nobody wants to be told what changes: another log in its place shows no difference. */
  get isBlank(): boolean {
    return this.keys === 0 && !this.#changes.isActive
  }

  /** Of entries, dead ones included. */
  get usedBytes(): number {
    return this.#segments.usedBytes
  }

  get openSnapshots(): number {
    return this.#epochs.openCount
  }

  /** Nothing expires before this time; Infinity: nothing at all. */
  get nextExpiryAtMs(): number {
    return this.#expiry.nextAtMs
  }

  /** Dead entries or tombstones wait to be cleared away. */
  get hasChores(): boolean {
    return this.#upkeep.hasChores
  }

  get memory(): LogMemory {
    return memoryOf(this.#segments, {
      indexBytes: this.#index.byteLength,
      orderBytes: this.ordered.byteLength,
      expiryBytes: this.#expiry.byteLength,
      trackingBytes: this.history.byteLength,
    })
  }

  /**
   * Loads a key (a stretch of bytes) and finds its latest version, which may be a tombstone; 0 where there is none.
   * `write` and `remove` then apply to this key.
   */
  seek(bytes: Uint8Array, start: number, length: number): number {
    const probe = this.#probe
    const isSame = probe.load(bytes, start, length)
    const index = this.#index
    if (isSame && this.#seekedAheadAt === index.changes) return this.#seekedAhead
    this.#seekedAheadAt = -1
    return index.find(probe)
  }

  /** As `seek`, for a key that is probably sought again next, to be written: that search is spared where nothing has changed. */
  seekAhead(bytes: Uint8Array, start: number, length: number): number {
    const address = this.seek(bytes, start, length)
    this.#seekedAhead = address
    this.#seekedAheadAt = this.#index.changes
    return address
  }

  /** Whether it is worth it to bring near what lies under keys before each is sought. */
  get isFar(): boolean {
    return this.#near.areFar
  }

  /**
   * Reads what `seek` will read for each of these keys, which lie one behind the other, each up to its end: they are sought in a third less time
   * afterwards. Nothing else comes of it.
   */
  bringNear(keys: Uint8Array, ends: Int32Array, count: number): void {
    this.#near.bringNear(keys, ends, count)
  }

  /** As `seekAhead`, of a key that `bringNear` was told at this place; 0, too, where only a search can find it. */
  seekTold(place: number, bytes: Uint8Array, start: number, length: number): number {
    const address = this.#near.find(place, bytes, start, length)
    if (address === 0) return 0
    this.#probe.unload()
    this.#seekedAhead = address
    this.#seekedAheadAt = this.#index.changes
    return address
  }

  /** The latest version of the key of the entry at `address`, tombstones included; 0 where there is none. */
  latest(address: number): number {
    return this.entries.isBuried(address) ? this.#find(address) : address
  }

  /** Follows the versions back from `latest` to what a snapshot of `epoch` sees; 0 where it sees nothing. */
  visible(latest: number, epoch: number): number {
    const address = this.entries.version(latest, epoch)
    return address !== 0 && this.entries.isTombstone(address) ? 0 : address
  }

  /** Whether an entry is at `address` that is no tombstone and has not expired. */
  isAlive(address: number): boolean {
    return address !== 0 && (this.entries.isPlain(address) || this.#isAlive(address))
  }

  /** The same of an entry that is a tombstone or expires. */
  #isAlive(address: number): boolean {
    return !this.entries.isTombstone(address) && this.#options.now() < this.entries.expiresAtMs(address)
  }

  /**
   * Writes the value of the key that was sought; `address` is what `seek` returned, `expiresAtMs` a whole number or
   * Infinity. Throws `BACKEND_FULL` with nothing changed.
   */
  write(address: number, value: Uint8Array, start: number, length: number, expiresAtMs: number): void {
    const epochs = this.#epochs
    epochs.dirty = true
    if (address !== 0) {
      const settledStart = this.#startInPlace(address, length, expiresAtMs)
      if (settledStart >= 0) {
        copyInto(this.entries.segmentBytes(address), settledStart, value, start, length)
        return
      }
    }
    if (address === 0 && expiresAtMs === Infinity) this.#insert(value, start, length)
    else this.#rewrite(address, value, start, length, expiresAtMs)
  }

  /** `write` of a key that the log does not know, and that does not expire: the common case of an append. */
  #insert(value: Uint8Array, start: number, length: number): void {
    const probe = this.#probe
    const segments = this.#segments
    const tail = this.#tail.number
    const units = entryUnits(probe.length, length, false)
    if (this.#options.maxBytes !== Infinity || segments.room(tail) < units) {
      this.#append(0, value, start, length, Infinity)
      return
    }
    const address = segments.take(tail, units)
    this.entries.create(address, probe, length, Infinity, this.#epochs.current, FLAG_FRESH)
    this.entries.setValue(address, value, start, length)
    this.#index.insert(probe, address)
    this.ordered.added(address)
    if (this.#changes.isActive) this.#changes.push(address)
    this.#upkeep.pay(units)
  }

  /** `write`, whatever the entry is like. */
  #rewrite(address: number, value: Uint8Array, start: number, length: number, expiresAtMs: number): void {
    const epochs = this.#epochs
    const oldExpiresAtMs = this.entries.livesUntilMs(address)
    const isFirstChange = this.history.isUnchanged(address)
    const valueStart =
      oldExpiresAtMs === GONE
        ? NO_ROOM
        : this.entries.reshape(address, length, expiresAtMs, epochs.current, epochs.newest)
    if (valueStart !== NO_ROOM) {
      copyInto(this.entries.segmentBytes(address), valueStart, value, start, length)
      if (isFirstChange) this.history.changedInPlace(address)
      this.#expiry.written(address, this.#probe.hash, oldExpiresAtMs, expiresAtMs)
    } else {
      this.#append(address, value, start, length, expiresAtMs)
    }
  }

  /** Shows the value at `address`, which is alive. See {@link Slot} for how long that holds. */
  show(address: number, slot: Slot): void {
    this.entries.show(address, slot)
  }

  /**
   * Does the maintenance that earlier updates have to pay for. To be called before the `seek` of an `update`, because
   * afterwards nothing may move what the slot shows.
   */
  settle(): void {
    this.#upkeep.settle()
  }

  /**
   * Makes the entry of the key that was sought ready to be changed where it lies, and shows it in `slot`: with the value
   * that is there, cut to `length` or continued with zeros; or, where the key is absent or has expired, with `length` zeros.
   * Returns whether it was there. The entry counts as written now. Otherwise like `write`.
   */
  update(address: number, length: number, expiresAtMs: number, slot: Slot): boolean {
    const epochs = this.#epochs
    const { entries } = this
    if (address !== 0) {
      const settledStart = this.#startInPlace(address, length, expiresAtMs)
      if (settledStart >= 0) {
        epochs.dirty = true
        entries.showStretch(address >>> OFFSET_BITS, settledStart, length, slot)
        return true
      }
    }
    return this.#reshape(address, length, expiresAtMs, slot)
  }

  /**
   * Writes the value of the key that `seekAhead` has found last, which `slot` shows, where it lies; returns the length of the key. Where
   * another key was sought since, or its entry has moved, or `write` would do more than that, nothing is written: negative.
   */
  writeBack(slot: Slot, value: ViewedBytes, length: number, expiresAtMs: number): number {
    if (this.#seekedAheadAt !== this.#index.changes) return NOT_WRITTEN
    const address = this.#seekedAhead
    if (address === 0) return NOT_WRITTEN
    const { entries } = this
    const epochs = this.#epochs
    const expires = expiresAtMs !== Infinity
    const start = expires
      ? entries.valueStart(address)
      : entries.settledStart(address, length, epochs.current)
    // The slot may show what another search has found.
    if (start < 0 || start !== slot.offset || entries.segmentBytes(address) !== slot.bytes) {
      return NOT_WRITTEN
    }
    if (expires && this.#startInPlace(address, length, expiresAtMs) < 0) return NOT_WRITTEN
    epochs.dirty = true
    copyViewed(value, 0, length, slot, start)
    return entries.keyLength(address)
  }

  /** `update`, whatever the entry is like. */
  #reshape(address: number, length: number, expiresAtMs: number, slot: Slot): boolean {
    const epochs = this.#epochs
    const { entries } = this
    const isThere = this.isAlive(address)
    const oldLength = isThere ? entries.valueLength(address) : 0
    const oldExpiresAtMs = entries.livesUntilMs(address)
    const isFirstChange = this.history.isUnchanged(address)
    const isInPlace =
      oldExpiresAtMs !== GONE &&
      entries.reshape(address, length, expiresAtMs, epochs.current, epochs.newest) !== NO_ROOM
    if (!isInPlace) return this.#appendUpdated(address, length, expiresAtMs, slot)
    epochs.dirty = true
    entries.show(address, slot)
    if (oldLength < length) slot.bytes.fill(0, slot.offset + oldLength, slot.offset + length)
    if (isFirstChange) this.history.changedInPlace(address)
    this.#expiry.written(address, this.#probe.hash, oldExpiresAtMs, expiresAtMs)
    return isThere
  }

  /**
   * Appends a key that the log does not hold, with its value. The caller knows that it is new, so nothing is looked up, and nothing can be
   * until `indexAppended` is done. Throws `BACKEND_FULL` with nothing changed.
   */
  append(entry: LyingEntry, expiresAtMs: number): void {
    const { keyLength, valueLength } = entry
    const probe = this.#probe
    this.#seekedAheadAt = -1
    const units = entryUnits(keyLength, valueLength, expiresAtMs !== Infinity)
    const tail = this.#tail.number
    // In a log with a limit each entry makes sure of its place in the index first.
    const isLimited = this.#options.maxBytes !== Infinity
    if (isLimited || this.#segments.room(tail) < units) {
      probe.loadFrom(entry.view, entry.keyStart, keyLength)
      this.#index.seekEmpty(probe)
      this.#appendUnpaid(0, entry.bytes, entry.valueStart, valueLength, expiresAtMs)
      // Without a limit, entries wait for their place in the index: who looked for what is due would not find them, and forget them.
      if (isLimited) this.#upkeep.pay(units)
      return
    }
    const address = this.#segments.take(tail, units)
    this.entries.createFrom(address, probe, entry, expiresAtMs, this.#epochs.current, FLAG_FRESH)
    if (expiresAtMs !== Infinity) this.#expiry.written(address, probe.hash, GONE, expiresAtMs)
    this.appended.push(probe.hash, address)
  }

  indexAppended(): SlicedWork<void> {
    this.#epochs.dirty = true
    this.reserve(this.keys + this.appended.length)
    return this.appended.flush(this.#index)
  }

  /**
   * The log as another thread can go on with it, of one that was filled by `append` alone; it must not be used any more. All that was
   * appended is indexed.
   */
  image(): LogImage {
    assert(this.appended.length === 0 && this.#changes.newest < 0, 'a log that was only filled')
    return {
      hashKey: this.#options.hashKey,
      segments: this.#segments.image(),
      tail: this.#tail.number,
      index: this.#index.image(),
      queue: this.#expiry.image(),
    }
  }

  /** Takes the place of the log that another thread has filled with the same `hashKey`. Only of one in which nothing was written. */
  adopt({ hashKey, segments, tail, index, queue }: LogImage): void {
    const own = this.#options.hashKey
    assert(hashKey.low === own.low && hashKey.high === own.high, 'keys are hashed alike')
    this.#segments.adopt(segments)
    this.#index.adopt(index)
    this.#expiry.adopt(queue)
    this.#tail.number = tail
    this.#epochs.dirty = true
  }

  /** Whether `write` would overwrite the entry at `address` where it lies. */
  overwrites(address: number, valueLength: number, expires: boolean): boolean {
    return (
      address !== 0 &&
      !this.entries.isTombstone(address) &&
      this.entries.epoch(address) > this.#epochs.newest &&
      this.entries.hasRoomFor(address, valueLength, expires)
    )
  }

  /** Removes the key that was sought; `address` is what `seek` returned. */
  remove(address: number): void {
    if (address === 0) {
      if (this.#options.covers) {
        this.#append(0, NO_VALUE, 0, 0, Infinity, FLAG_TOMBSTONE)
        this.#removals.tombstoneCount++
      }
      return
    }
    if (this.entries.isTombstone(address)) return
    const expiresAtMs = this.entries.expiresAtMs(address)
    if (expiresAtMs !== Infinity && expiresAtMs <= this.#options.now()) this.#options.onExpired(address)
    const units = this.entries.units(address)
    this.#removals.removeFound(address, this.#probe)
    this.#upkeep.pay(units)
  }

  /** Removes many keys, of which each address is the latest version and no tombstone, in one step. */
  removeAll(addresses: Uint32Array): void {
    const { inBatch } = this.#space
    const nowMs = this.#options.now()
    let units = 0
    // Compaction would move what is still to be removed.
    this.#space.inBatch = true
    try {
      for (const address of addresses) {
        if (this.entries.expiresAtMs(address) <= nowMs) this.#options.onExpired(address)
        units += this.#removals.removeAt(address)
      }
    } finally {
      this.#space.inBatch = inBatch
    }
    this.#upkeep.pay(units)
  }

  /** The segments as they are now, by number, for another thread to read through `SegmentTable.attach`. */
  share(): SharedSegment[] {
    return this.#segments.share()
  }

  /** Walks the latest versions, tombstones included, as they lie. */
  latestVersions(): LatestVersions {
    return new LatestVersions(this.#segments)
  }

  /** Ends the epoch, pins what is there now and returns the epoch that the snapshot sees. Constant time. */
  openSnapshot(): number {
    if (this.#epochs.shouldRenumber) this.#renumber()
    return this.history.openSnapshot()
  }

  /** One more snapshot of an epoch that one is open of. */
  openSnapshotOf(epoch: number): void {
    this.history.openSnapshotOf(epoch)
  }

  closeSnapshot(epoch: number): void {
    this.history.closeSnapshot(epoch)
  }

  /**
   * Until `unpin`, addresses that are known now may be read, as the order of keys has them, even if nothing lives there any more.
   * An open snapshot does the same for what it sees.
   */
  pin(): number {
    return this.#segments.pin()
  }

  unpin(pin: number): void {
    this.#segments.unpin(pin)
  }

  /** Removes entries that have expired until none is left or `performance.now()` passes `untilMs`; returns whether none is left. */
  sweep(untilMs: number): boolean {
    return this.#expiry.sweep(untilMs, this.#expire)
  }

  /** Tells of entries that have expired, each once, like `sweep`, but leaves them where they are. */
  noteExpired(untilMs: number, onExpired: OnExpired): boolean {
    return this.#expiry.sweep(untilMs, onExpired)
  }

  /** Removes what closed snapshots and released bases have left, and compacts, until nothing is to be done or `performance.now()` passes `untilMs`; returns whether nothing is. */
  tidy(untilMs: number): boolean {
    return this.#upkeep.tidy(untilMs)
  }

  /** Gives the memory to the pool that it came from. Nothing may use the log any more. */
  dispose(): void {
    this.#segments.dispose()
  }

  /** Sizes the index for `count` keys, where the log holds few. */
  reserve(count: number): void {
    if (this.#options.maxBytes === Infinity) this.#index.reserve(count)
  }

  /**
   * Runs `apply`, which writes entries of at most these units in this order and removes others. None of its writes can
   * fail: if there is not room for all, this throws `BACKEND_FULL` before the first.
   */
  inOneStep(units: readonly number[], apply: () => void): void {
    this.beginStep(units)
    try {
      apply()
    } finally {
      this.endStep(units)
    }
  }

  /** The same for a step that others read beside: no write from here to `endStep` can fail. */
  beginStep(units: readonly number[]): void {
    this.#space.prepare(units)
    this.#space.inBatch = true
  }

  /** What was written since `beginStep` is paid for. */
  endStep(units: readonly number[]): void {
    this.#space.inBatch = false
    this.#upkeep.payForBatch(
      units.length,
      units.reduce((sum, each) => sum + each, 0),
    )
  }

  /** Looks the key of the entry at `address` up, with the probe of maintenance. */
  #find(address: number): number {
    this.#chore.loadEntry(address)
    return this.#index.find(this.#chore)
  }

  /** Appends a version of the probe's key, which is at `replaced` and in the index where `seek` found it. */
  #append(
    replaced: number,
    value: Uint8Array,
    start: number,
    length: number,
    expiresAtMs: number,
    flags = 0,
  ): void {
    this.#upkeep.pay(this.#appendUnpaid(replaced, value, start, length, expiresAtMs, flags))
  }

  /** Returns the units that it has taken. */
  #appendUnpaid(
    replaced: number,
    value: Uint8Array,
    start: number,
    length: number,
    expiresAtMs: number,
    flags = 0,
  ): number {
    const units = entryUnits(this.#probe.length, length, expiresAtMs !== Infinity)
    const inserted = replaced === 0 ? this.#probe : undefined
    const hasRoom = this.#space.hasRoom(units, inserted)
    const segment = hasRoom ? this.#tail.number : this.#space.makeRoom(units, inserted)
    const old = hasRoom ? replaced : this.#findAgain()
    const address = this.#create(segment, units, old, length, expiresAtMs, flags)
    this.entries.setValue(address, value, start, length)
    this.#putInService(address, old, expiresAtMs)
    return units
  }

  /** The same for `update`: the value is that of the version before. Maintenance is left to the next `settle`. */
  #appendUpdated(replaced: number, length: number, expiresAtMs: number, slot: Slot): boolean {
    const units = entryUnits(this.#probe.length, length, expiresAtMs !== Infinity)
    const inserted = replaced === 0 ? this.#probe : undefined
    const hasRoom = this.#space.hasRoom(units, inserted)
    const segment = hasRoom ? this.#tail.number : this.#space.makeRoom(units, inserted)
    const old = hasRoom ? replaced : this.#findAgain()
    const isThere = this.isAlive(old)
    const address = this.#create(segment, units, old, length, expiresAtMs, 0)
    this.entries.fillFrom(address, isThere ? old : 0)
    this.entries.show(address, slot)
    this.#putInService(address, old, expiresAtMs)
    this.#upkeep.owe(units)
    return isThere
  }

  /** Making room may have moved or swept the version that is to be replaced, and the key's place in the index with it. */
  #findAgain(): number {
    return this.#index.find(this.#probe)
  }

  #create(
    segment: number,
    units: number,
    old: number,
    length: number,
    expiresAtMs: number,
    flags: number,
  ): number {
    this.#epochs.dirty = true
    const address = this.#segments.take(segment, units)
    const previous = this.history.previousFor(old)
    const allFlags = flags | this.history.flagsAfter(old)
    this.entries.create(address, this.#probe, length, expiresAtMs, this.#epochs.current, allFlags)
    if (previous !== 0) this.entries.setPrevious(address, previous)
    if (previous !== 0 && previous === old) this.history.superseded(this.#epochs.newest, this.#probe.hash)
    const bucket = expiresAtMs === Infinity ? NO_BUCKET : this.entries.bucket(old)
    if (bucket !== NO_BUCKET) this.entries.setBucket(address, bucket)
    return address
  }

  /** The new version at `address` takes the place of `old`. */
  #putInService(address: number, old: number, expiresAtMs: number): void {
    const oldExpiresAtMs = this.entries.livesUntilMs(old)
    this.#place(old, address, this.#probe)
    if (this.#changes.isActive) this.#changes.push(address)
    this.#expiry.written(address, this.#probe.hash, oldExpiresAtMs, expiresAtMs)
  }

  /** Where a value goes that takes the place of one of the same length, and nothing else is to be done; negative where something is. */
  #startInPlace(address: number, length: number, expiresAtMs: number): number {
    const { current } = this.#epochs
    if (expiresAtMs === Infinity) return this.entries.settledStart(address, length, current)
    const clock = this.#clock
    if (clock === undefined) return NO_ROOM
    return this.entries.renewedStart(address, length, current, expiresAtMs, clock)
  }

  /** Makes the new version at `address` the latest of the probe's key, which was sought. */
  #place(old: number, address: number, probe: KeyProbe): void {
    if (old === 0) {
      this.#index.insert(probe, address)
      this.ordered.added(address)
      return
    }
    this.#index.replace(probe, address)
    if (this.entries.isTombstone(old)) {
      this.#removals.tombstoneCount--
      this.ordered.added(address)
    }
    this.#tail.bury(old)
  }

  /** Removes an entry that has expired. */
  readonly #expire = (address: number): void => {
    this.#options.onExpired(address)
    const units = this.#removals.removeAt(address)
    // A write pays for this: it pays nothing in turn but its share of compaction.
    if (!this.#space.inBatch) this.#compactor.paid(units)
  }

  /** Stamps every entry with epoch 1 and starts counting again: once in a billion snapshots, when none is open. */
  #renumber(): void {
    this.#changes.abandon()
    this.#remains.remove(Infinity)
    for (const slots of this.#index.tables()) {
      for (let i = 1; i < slots.length; i += 2) {
        if (slots[i] !== 0) this.entries.setEpoch(slots[i] as number, 1)
      }
    }
    this.#epochs.renumbered()
  }
}

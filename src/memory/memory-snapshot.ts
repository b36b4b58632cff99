import { DEFAULT_BLOCK_BYTES, validateBlockOptions } from '../backend/block-options.js'
import { type EntryBlock, EntryBlockBuilder } from '../backend/entry-block.js'
import { capturedInterval, type KeyInterval } from '../backend/scan-range.js'
import type { SharedSnapshot, SharedSnapshotReader } from '../backend/shared-snapshot.js'
import type { ChangeBase, SnapshotOptions, SyncStateSnapshot } from '../backend/state-snapshot.js'
import type { BlockOptions, Entry, ScanRange } from '../backend/types.js'
import { throwIfAborted, validateKey, validateKeys } from '../backend/validate.js'
import { compiledModule } from '../base/compiled.js'
import { StateError } from '../base/errors.js'
import { invalidArgument } from '../base/options.js'
import { nextTurn, runSliced, runThrough, type SlicedWork } from '../base/slices.js'
import type { HashLog } from '../log/hash-log.js'
import type { ChangeMark } from '../log/history/change-tracker.js'
import { LogShare } from '../log/share/log-share.js'
import { openSharedSnapshot, type SharedMemorySnapshotData } from './shared-memory-snapshot.js'

/** Entries handed out or skipped between two looks at the abort signal and the event loop, in asynchronous scans. */
const TURN_ENTRIES = 4_096

/** What a snapshot asks of its engine. */
export interface MemorySnapshotHost {
  closed(snapshot: MemorySnapshot): void
  /** Neither the snapshot nor a reader in another thread needs the log any more, or a base was released. */
  released(): void
  /** Removes for a while what has expired; returns whether none of it is left. */
  sweepForAWhile(): boolean
}

/** An instant of a log from which on it tracks what changes. */
class MemoryChangeBase implements ChangeBase {
  readonly log: HashLog
  readonly mark: ChangeMark
  readonly #released: () => void

  constructor(log: HashLog, mark: ChangeMark, released: () => void) {
    this.log = log
    this.mark = mark
    this.#released = released
  }

  release(): void {
    this.log.history.changes.releaseBase(this.mark)
    this.#released()
  }
}

/** Keys in order that are being walked through, and what keeps them readable. */
interface HeldOrder {
  readonly sorted: Uint32Array
  readonly pin: number
}

/** One instant of a memory engine: an epoch of its log. Open and close cost constant time. */
export class MemorySnapshot implements SyncStateSnapshot {
  readonly takenAtMs: number
  readonly base: ChangeBase | undefined
  readonly tellsChanges: boolean
  readonly #log: HashLog
  readonly #epoch: number
  readonly #host: MemorySnapshotHost
  /** Entries at this instant, tombstones not among them. */
  readonly #entries: number
  /** Of these, entries that have not expired; undefined: some have, and nobody has counted yet. */
  #count: number | undefined
  /** The base that changes are told since. */
  readonly #since: ChangeMark | undefined
  /** What has changed, ready to be read; until somebody asks for it. */
  #changes: LogShare | undefined
  /** What reads the changes here, again and again, until the snapshot is closed. */
  #changesReader: Promise<SharedSnapshotReader> | undefined
  /** What other threads read or may come to read. */
  readonly #shares = new Set<LogShare>()
  /** What keeps the orders of keys readable that are being walked through. */
  readonly #pins = new Set<number>()
  #closed = false

  /** `seen`: the open instant that is to be seen, and how many entries it has; default: the instant of the call. */
  constructor(
    log: HashLog,
    takenAtMs: number,
    options: SnapshotOptions | undefined,
    host: MemorySnapshotHost,
    seen?: { readonly epoch: number; readonly entries: number },
  ) {
    this.#log = log
    this.takenAtMs = takenAtMs
    this.#host = host
    if (seen === undefined) {
      this.#epoch = log.openSnapshot()
      this.#entries = log.count
      this.#count = log.nextExpiryAtMs > takenAtMs ? log.count : undefined
    } else {
      log.openSnapshotOf(seen.epoch)
      this.#epoch = seen.epoch
      this.#entries = seen.entries
    }
    this.base = options?.track === true ? this.#track() : undefined
    this.#since = this.#markOf(options?.since)
    this.#changes = this.#since === undefined ? undefined : this.#lend(this.#since)
    this.tellsChanges = this.#changes !== undefined
  }

  getSync(key: Uint8Array): Uint8Array | undefined {
    const address = this.#seek(key)
    return address === 0 ? undefined : this.#log.entries.copyValue(address)
  }

  containsSync(key: Uint8Array): boolean {
    return this.#seek(key) !== 0
  }

  scanSync(range?: ScanRange): IterableIterator<Entry> {
    return this.#deferredSync(capturedInterval(range))
  }

  scan(range?: ScanRange): AsyncIterableIterator<Entry> {
    return this.#deferred(capturedInterval(range))
  }

  countSync(): number {
    this.#assertOpen()
    this.#count ??= runThrough(this.#countVisible(this.#log.ordered.sortedNow()))
    return this.#count
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.getSync(key)
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    validateKeys(keys)
    return keys.map((key) => this.getSync(key))
  }

  async contains(key: Uint8Array): Promise<boolean> {
    return this.containsSync(key)
  }

  async count(): Promise<number> {
    this.#assertOpen()
    if (this.#count === undefined) {
      const order = await this.#order(undefined, 'count')
      try {
        this.#count = await runSliced(this.#countVisible(order.sorted), () => this.#assertOpen())
      } finally {
        this.#letGo(order)
      }
    }
    return this.#count
  }

  async *blocks(options?: BlockOptions): AsyncIterableIterator<EntryBlock> {
    validateBlockOptions(options)
    const { targetBytes = DEFAULT_BLOCK_BYTES, signal } = options ?? {}
    const order = await this.#order(signal, 'blocks')
    try {
      yield* this.#blocksOf(order.sorted, targetBytes, signal)
    } finally {
      this.#letGo(order)
    }
  }

  async *#blocksOf(
    sorted: Uint32Array,
    targetBytes: number,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<EntryBlock, void, undefined> {
    const { entries } = this.#log
    const builder = new EntryBlockBuilder(targetBytes)
    for (let i = 0; i < sorted.length; i++) {
      const address = this.#visible(sorted[i] as number)
      if (address !== 0) {
        const bytes = entries.segmentBytes(address)
        builder.add(
          bytes,
          entries.keyStart(address),
          entries.keyLength(address),
          bytes,
          entries.valueStart(address),
          entries.valueLength(address),
          entries.expiresAtMs(address),
        )
      }
      if (builder.full) {
        yield builder.take()
        this.#assertOpen()
        throwIfAborted(signal, 'blocks')
      } else if ((i + 1) % TURN_ENTRIES === 0) {
        await nextTurn()
        this.#assertOpen()
      }
    }
    if (builder.entryCount > 0) yield builder.take()
  }

  async *changes(options?: BlockOptions): AsyncIterableIterator<EntryBlock> {
    this.#assertOpen()
    if (!this.tellsChanges) throw invalidArgument('since', 'is no base that changes can be told since')
    this.#changesReader ??= this.#openChanges()
    yield* (await this.#changesReader).blocks(options)
  }

  #openChanges(): Promise<SharedSnapshotReader> {
    const share = this.#lendChanges()
    if (share === undefined) {
      throw invalidArgument(
        'since',
        'is that of changes which were shared with another thread, and are read there',
      )
    }
    return openSharedSnapshot(this.#dataOf(share, true))
  }

  share(what: 'all' | 'changes' = 'all'): SharedSnapshot | undefined {
    this.#assertOpen()
    const share = what === 'all' ? this.#lend(undefined) : this.#lendChanges()
    if (share === undefined) return undefined
    const module = compiledModule('#memory/shared-snapshot').href
    return { module, data: this.#dataOf(share, what === 'changes'), transferList: [share.data.port] }
  }

  #track(): ChangeBase | undefined {
    const mark = this.#log.history.trackChanges(this.#epoch)
    return mark && new MemoryChangeBase(this.#log, mark, () => this.#host.released())
  }

  /** What has changed, as it was lent when the snapshot was taken, or once more while nothing was written since. */
  #lendChanges(): LogShare | undefined {
    const ready = this.#changes
    this.#changes = undefined
    return ready ?? (this.#since === undefined ? undefined : this.#lend(this.#since))
  }

  /** Lends what the snapshot sees, or what of it has changed since a base; `undefined` where that cannot be told any more. */
  #lend(mark: ChangeMark | undefined): LogShare | undefined {
    const { history } = this.#log
    const view = history.openView(this.#epoch, mark)
    if (view === undefined) return undefined
    const share: LogShare = new LogShare(history, view, mark?.epoch ?? 0, {
      // What expires later is of no concern here.
      settle: () => this.#log.nextExpiryAtMs > this.takenAtMs || this.#host.sweepForAWhile(),
      ended: () => {
        this.#shares.delete(share)
        if (this.#closed) this.#releaseUnread()
      },
    })
    this.#shares.add(share)
    return share
  }

  #dataOf(share: LogShare, changesOnly: boolean): SharedMemorySnapshotData {
    const { takenAtMs } = this
    const someExpired = this.#count === undefined
    return { log: share.data, takenAtMs, entries: this.#entries, someExpired, changesOnly }
  }

  /** The log lets go of what this snapshot sees at once, or as soon as no other thread reads it any more. */
  closeSync(): void {
    if (this.#closed) return
    this.#closed = true
    this.#host.closed(this)
    for (const pin of this.#pins) this.#log.unpin(pin)
    this.#pins.clear()
    if (this.#shares.size === 0) this.#releaseUnread()
    for (const share of this.#shares) share.close()
  }

  async close(): Promise<void> {
    this.closeSync()
  }

  [Symbol.dispose](): void {
    this.closeSync()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.closeSync()
  }

  /** The entries of an interval, for the engine's own scans. */
  *walkSync(interval: KeyInterval): IterableIterator<Entry> {
    const check = () => {
      this.#assertOpen()
      throwIfAborted(interval.signal, 'scan')
    }
    check()
    const order = this.#held(this.#log.ordered.sortedNow())
    try {
      for (const address of this.#walk(order.sorted, interval)) {
        if (address === 0) continue
        yield this.#entry(address)
        check()
      }
    } finally {
      this.#letGo(order)
    }
  }

  /** The entries of an interval, for the engine's own scans. */
  async *walk(interval: KeyInterval): AsyncIterableIterator<Entry> {
    const order = await this.#order(interval.signal, 'scan')
    try {
      let walked = 0
      for (const address of this.#walk(order.sorted, interval)) {
        if (++walked % TURN_ENTRIES === 0) await nextTurn()
        this.#assertOpen()
        throwIfAborted(interval.signal, 'scan')
        if (address !== 0) yield this.#entry(address)
      }
      this.#assertOpen()
      throwIfAborted(interval.signal, 'scan')
    } finally {
      this.#letGo(order)
    }
  }

  *#deferredSync(interval: () => KeyInterval): IterableIterator<Entry> {
    yield* this.walkSync(interval())
  }

  async *#deferred(interval: () => KeyInterval): AsyncIterableIterator<Entry> {
    yield* this.walk(interval())
  }

  #releaseUnread(): void {
    if (this.#shares.size > 0) return
    this.#log.closeSnapshot(this.#epoch)
    this.#host.released()
  }

  #markOf(since: ChangeBase | undefined): ChangeMark | undefined {
    return since instanceof MemoryChangeBase && since.log === this.#log ? since.mark : undefined
  }

  #assertOpen(): void {
    if (this.#closed) throw new StateError('CLOSED', { component: 'snapshot' })
  }

  #seek(key: Uint8Array): number {
    this.#assertOpen()
    validateKey(key)
    return this.#alive(this.#log.visible(this.#log.seek(key, 0, key.length), this.#epoch))
  }

  /** What this snapshot sees under the key of the entry at `address`; 0: nothing. */
  #visible(address: number): number {
    return this.#alive(this.#log.visible(this.#log.latest(address), this.#epoch))
  }

  #alive(address: number): number {
    return address !== 0 && this.#log.entries.expiresAtMs(address) > this.takenAtMs ? address : 0
  }

  #entry(address: number): Entry {
    return [this.#log.entries.copyKey(address), this.#log.entries.copyValue(address)]
  }

  /** The addresses of an interval in its order, at most as many as its limit allows; 0 for each key that is not seen. */
  *#walk(sorted: Uint32Array, interval: KeyInterval): Generator<number, void, undefined> {
    const [first, end] = this.#log.ordered.range(sorted, interval.from, interval.until)
    let left = interval.limit
    for (let i = 0; i < end - first && left > 0; i++) {
      const address = this.#visible(sorted[interval.reverse ? end - 1 - i : first + i] as number)
      if (address !== 0) left--
      yield address
    }
  }

  *#countVisible(sorted: Uint32Array): SlicedWork<number> {
    let count = 0
    for (let i = 0; i < sorted.length; i++) {
      if (this.#visible(sorted[i] as number) !== 0) count++
      if (i % TURN_ENTRIES === 0) yield
    }
    return count
  }

  /** The keys in order, readable until `#letGo`. */
  async #order(signal: AbortSignal | undefined, operation: string): Promise<HeldOrder> {
    let pin = 0
    const check = () => {
      this.#assertOpen()
      throwIfAborted(signal, operation)
    }
    const sorted = await this.#log.ordered.sorted(check, () => {
      pin = this.#pin()
    })
    return { sorted, pin }
  }

  #held(sorted: Uint32Array): HeldOrder {
    return { sorted, pin: this.#pin() }
  }

  #pin(): number {
    const pin = this.#log.pin()
    this.#pins.add(pin)
    return pin
  }

  #letGo({ pin }: HeldOrder): void {
    this.#pins.delete(pin)
    this.#log.unpin(pin)
  }
}

import { type EntryBlock, EntryBlockBuilder } from '../backend/entry-block.js'
import type { EngineEntry, EngineSnapshot, EngineStep, PackOptions } from '../backend/facade/engines.js'
import type { KeyInterval } from '../backend/scan-range.js'
import type { SharedSnapshot, SharedSnapshotReader } from '../backend/shared-snapshot.js'
import type { KeyFilter } from '../backend/state-backend.js'
import type { ChangeBase, SnapshotOptions } from '../backend/state-snapshot.js'
import { compiledModule } from '../base/compiled.js'
import { invalidArgument } from '../base/options.js'
import { nextTurn, runSliced, runThrough, type SlicedWork } from '../base/slices.js'
import { EntryCursor } from '../log/entry-cursor.js'
import type { HashLog } from '../log/hash-log.js'
import type { ChangeMark } from '../log/history/change-tracker.js'
import type { SortedKeys } from '../log/order/sorted-keys.js'
import { LogShare } from '../log/share/log-share.js'
import { openSharedSnapshot, type SharedMemorySnapshotData } from './shared-memory-snapshot.js'

const NO_BYTES = new Uint8Array(0)
/** Entries packed, or keys skipped, between two turns of the event loop. */
const TURN_ENTRIES = 4_096
/** So many entries are looked at ahead of a walk; a few at its begin, as many walks are short. */
const TOUCHED_ENTRIES = 32
const FIRST_TOUCHED_ENTRIES = 4

/** What a snapshot asks of its engine. */
export interface MemorySnapshotHost {
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
  readonly sorted: SortedKeys
  readonly pin: number
}

/** One instant of a memory engine: an epoch of its log. Open and close cost constant time. */
export class MemorySnapshot implements EngineSnapshot {
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

  get(key: Uint8Array): Uint8Array | undefined {
    const address = this.#alive(this.#log.visible(this.#log.seek(key, 0, key.length), this.#epoch))
    return address === 0 ? undefined : this.#log.entries.copyValue(address)
  }

  count(): number {
    this.#count ??= runThrough(this.#countVisible(this.#log.ordered.sortedNow()))
    return this.#count
  }

  async countInSlices(check: () => void): Promise<number> {
    if (this.#count === undefined) {
      const order = await this.#order(check)
      try {
        this.#count = await runSliced(this.#countVisible(order.sorted), check)
      } finally {
        this.#letGo(order.pin)
      }
    }
    return this.#count
  }

  entries(interval: KeyInterval): Iterable<EngineStep> {
    return this.#walk(() => this.#held(this.#log.ordered.sortedNow()), interval)
  }

  *unsorted(isWanted: KeyFilter): Generator<EngineStep, void, undefined> {
    const { entries, ordered } = this.#log
    let pin: number | undefined
    try {
      const addresses = yield* ordered.unsorted(() => {
        pin = this.#pin()
      })
      const cursor = new EntryCursor(entries)
      for (let i = 0; i < addresses.length; i++) {
        if ((i + 1) % TURN_ENTRIES === 0) yield undefined
        const { bytes, keyStart, keyLength } = cursor.goTo(addresses[i] as number)
        if (!isWanted(bytes, keyStart, keyLength)) continue
        const address = this.#visible(addresses[i] as number)
        if (address === 0) continue
        const expiresAtMs = entries.expiresAtMs(address)
        yield { key: entries.copyKey(address), value: entries.copyValue(address), expiresAtMs }
      }
    } finally {
      if (pin !== undefined) this.#letGo(pin)
    }
  }

  async entriesInSlices(interval: KeyInterval, check: () => void): Promise<Iterable<EngineStep>> {
    const order = await this.#order(check)
    return this.#walk(() => order, interval)
  }

  /** Not asked for: `packed` is. */
  changes(): Iterable<EngineStep> {
    return []
  }

  async *packed(
    what: 'all' | 'changes',
    { targetBytes, signal, check }: PackOptions,
  ): AsyncGenerator<EntryBlock, void, undefined> {
    if (what === 'changes') {
      this.#changesReader ??= this.#openChanges()
      const options = signal === undefined ? { targetBytes } : { targetBytes, signal }
      yield* (await this.#changesReader).blocks(options)
      return
    }
    const order = await this.#order(check)
    try {
      yield* this.#blocksOf(order.sorted, targetBytes, check)
    } finally {
      this.#letGo(order.pin)
    }
  }

  async *#blocksOf(
    sorted: SortedKeys,
    targetBytes: number,
    check: () => void,
  ): AsyncGenerator<EntryBlock, void, undefined> {
    const cursor = new EntryCursor(this.#log.entries)
    const builder = new EntryBlockBuilder(targetBytes)
    const keys = sorted.walk()
    let walked = 0
    for (let key = keys.next(); key !== 0; key = keys.next()) {
      const address = this.#visible(key)
      if (address !== 0) builder.addAligned(cursor.goTo(address))
      walked++
      if (builder.full) {
        yield builder.take()
      } else if (walked % TURN_ENTRIES === 0) {
        await nextTurn()
        check()
      }
    }
    if (builder.entryCount > 0) yield builder.take()
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

  share(what: 'all' | 'changes'): SharedSnapshot | undefined {
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
  close(): void {
    this.#closed = true
    for (const pin of this.#pins) this.#log.unpin(pin)
    this.#pins.clear()
    if (this.#shares.size === 0) this.#releaseUnread()
    for (const share of this.#shares) share.close()
  }

  #releaseUnread(): void {
    if (this.#shares.size > 0) return
    this.#log.closeSnapshot(this.#epoch)
    this.#host.released()
  }

  #markOf(since: ChangeBase | undefined): ChangeMark | undefined {
    return since instanceof MemoryChangeBase && since.log === this.#log ? since.mark : undefined
  }

  /** What this snapshot sees under the key of the entry at `address`; 0: nothing. */
  #visible(address: number): number {
    return this.#alive(this.#log.visible(this.#log.latest(address), this.#epoch))
  }

  #alive(address: number): number {
    return address !== 0 && this.#log.entries.expiresAtMs(address) > this.takenAtMs ? address : 0
  }

  /** The entries of an interval in its order; the same object for each. */
  *#walk(open: () => HeldOrder, interval: KeyInterval): Generator<EngineStep, void, undefined> {
    const order = open()
    try {
      const { sorted } = order
      const { entries, ordered } = this.#log
      const keys = ordered.range(sorted, interval.from, interval.until).walk(interval.reverse)
      const step: { -readonly [Name in keyof EngineEntry]: EngineEntry[Name] } = {
        key: NO_BYTES,
        value: NO_BYTES,
        expiresAtMs: Infinity,
      }
      let walked = 0
      const ahead = new Uint32Array(TOUCHED_ENTRIES)
      for (let most = FIRST_TOUCHED_ENTRIES; ; most = TOUCHED_ENTRIES) {
        const count = keys.take(ahead, most)
        if (count === 0) return
        // So the entries are read at one time, and not one behind the other as each is needed.
        entries.touch(ahead, 0, count)
        for (let i = 0; i < count; i++) {
          const address = this.#visible(ahead[i] as number)
          walked++
          if (address === 0) {
            if (walked % TURN_ENTRIES === 0) yield undefined
            continue
          }
          step.key = entries.copyKey(address)
          step.value = entries.copyValue(address)
          step.expiresAtMs = entries.expiresAtMs(address)
          yield step
        }
      }
    } finally {
      this.#letGo(order.pin)
    }
  }

  *#countVisible(sorted: SortedKeys): SlicedWork<number> {
    const keys = sorted.walk()
    let count = 0
    let walked = 0
    for (let key = keys.next(); key !== 0; key = keys.next()) {
      if (this.#visible(key) !== 0) count++
      if (++walked % TURN_ENTRIES === 0) yield
    }
    return count
  }

  /** The keys in order, readable until `#letGo`. */
  async #order(check: () => void): Promise<HeldOrder> {
    let pin = 0
    const sorted = await this.#log.ordered.sorted(check, () => {
      pin = this.#pin()
    })
    return { sorted, pin }
  }

  #held(sorted: SortedKeys): HeldOrder {
    return { sorted, pin: this.#pin() }
  }

  #pin(): number {
    const pin = this.#log.pin()
    this.#pins.add(pin)
    return pin
  }

  #letGo(pin: number): void {
    this.#pins.delete(pin)
    this.#log.unpin(pin)
  }
}

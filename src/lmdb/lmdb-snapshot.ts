import { DEFAULT_BLOCK_BYTES, validateBlockOptions } from '../backend/block-options.js'
import { type EntryBlock, EntryBlockBuilder } from '../backend/entry-block.js'
import { capturedInterval, EVERYTHING, type KeyInterval } from '../backend/scan-range.js'
import type { SharedSnapshot } from '../backend/shared-snapshot.js'
import type { ChangeBase, SnapshotOptions, SyncStateSnapshot } from '../backend/state-snapshot.js'
import type { BlockOptions, Entry, ScanRange } from '../backend/types.js'
import { throwIfAborted, validateKey, validateKeys } from '../backend/validate.js'
import { StateError } from '../base/errors.js'
import { invalidArgument } from '../base/options.js'
import { nextTurn, runSliced, runThrough } from '../base/slices.js'
import type { SharedSegment } from '../log/segment-table.js'
import { countEntries } from './buffer/count-entries.js'
import {
  changesOver,
  type Layer,
  type MergedScan,
  type SortedLayer,
  scanLayers,
} from './buffer/merged-scan.js'
import type { LentSnapshot } from './share/lent-snapshot.js'
import type { SnapshotLender } from './share/snapshot-lender.js'
import { sortedKeys } from './store/cursors.js'
import type { StoreView } from './store/store-view.js'

/** Keys looked at between two looks at the abort signal and the event loop, in asynchronous scans. */
const TURN_KEYS = 512

export interface SnapshotSource {
  /** Newest first. */
  readonly layers: readonly Layer[]
  /** Undefined: nothing below the layers shows through. */
  readonly view: StoreView | undefined
  readonly takenAtMs: number
  /** Undefined where another process commits: nothing can be shared then. */
  readonly sharing: SnapshotLender | undefined
  readonly options: SnapshotOptions | undefined
  /** Called once, when the snapshot is closed. */
  readonly onClose: (snapshot: LmdbSnapshot) => void
}

/** One instant of a store: a read transaction of LMDB under the write buffer as it was. */
export class LmdbSnapshot implements SyncStateSnapshot {
  readonly takenAtMs: number
  readonly base: ChangeBase | undefined
  /** Of what was committed since the base that changes are told since. */
  readonly #changedKeys: readonly SharedSegment[] | undefined
  readonly #layers: readonly Layer[]
  readonly #view: StoreView | undefined
  readonly #sharing: SnapshotLender | undefined
  readonly #onClose: (snapshot: LmdbSnapshot) => void
  readonly #shares: LentSnapshot[] = []
  #count: number | undefined
  #closedBecause: string | undefined

  constructor({ layers, view, takenAtMs, sharing, options, onClose }: SnapshotSource) {
    this.takenAtMs = takenAtMs
    this.#layers = layers
    this.#view = view
    this.#sharing = sharing
    this.#onClose = onClose
    this.base = options?.track === true ? sharing?.trackChanges() : undefined
    this.#changedKeys = sharing?.changedSince(options?.since)
  }

  get tellsChanges(): boolean {
    return this.#changedKeys !== undefined
  }

  getSync(key: Uint8Array): Uint8Array | undefined {
    this.#assertOpen()
    validateKey(key)
    for (const { log, epoch } of this.#layers) {
      const address = log.entries.version(log.seek(key, 0, key.length), epoch)
      if (address === 0) continue
      const { entries } = log
      const visible = !entries.isTombstone(address) && entries.expiresAtMs(address) > this.takenAtMs
      return visible ? entries.copyValue(address) : undefined
    }
    return this.#view?.read(key, () => this.takenAtMs)
  }

  containsSync(key: Uint8Array): boolean {
    return this.getSync(key) !== undefined
  }

  scanSync(range?: ScanRange): IterableIterator<Entry> {
    return this.#deferredSync(capturedInterval(range))
  }

  scan(range?: ScanRange): AsyncIterableIterator<Entry> {
    return this.#deferred(capturedInterval(range))
  }

  countSync(): number {
    this.#assertOpen()
    this.#count ??= runThrough(countEntries(this.#sortedNow(), this.#view, this.takenAtMs))
    return this.#count
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.getSync(key)
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    this.#assertOpen()
    validateKeys(keys)
    return keys.map((key) => this.getSync(key))
  }

  async contains(key: Uint8Array): Promise<boolean> {
    return this.containsSync(key)
  }

  async count(): Promise<number> {
    this.#assertOpen()
    if (this.#count === undefined) {
      const check = () => this.#assertOpen()
      const counting = countEntries(await this.#sorted(check), this.#view, this.takenAtMs)
      this.#count = await runSliced(counting, check)
    }
    return this.#count
  }

  async *blocks(options?: BlockOptions): AsyncIterableIterator<EntryBlock> {
    validateBlockOptions(options)
    const open = (layers: readonly SortedLayer[]) =>
      scanLayers(layers, this.#view, this.takenAtMs, EVERYTHING)
    yield* this.#packed(open, 'blocks', options)
  }

  async *changes(options?: BlockOptions): AsyncIterableIterator<EntryBlock> {
    this.#assertOpen()
    validateBlockOptions(options)
    const changedKeys = this.#changedKeys
    if (changedKeys === undefined) throw invalidArgument('since', 'is no base that changes can be told since')
    const changed = await sortedKeys(changedKeys, () => this.#assertOpen())
    const open = (layers: readonly SortedLayer[]) => changesOver(layers, this.#view, changed, this.takenAtMs)
    yield* this.#packed(open, 'changes', options)
  }

  share(what: 'all' | 'changes' = 'all'): SharedSnapshot | undefined {
    this.#assertOpen()
    const changedKeys = what === 'changes' ? this.#changedKeys : undefined
    if (what === 'changes' && changedKeys === undefined) return undefined
    const source = { layers: this.#layers, view: this.#view, takenAtMs: this.takenAtMs }
    const share = this.#sharing?.share(source, changedKeys)
    if (share === undefined) return undefined
    this.#shares.push(share)
    return share.snapshot
  }

  closeSync(): void {
    this.closeBecause('')
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

  /** Closes with a reason that later calls give. */
  closeBecause(reason: string): void {
    if (this.#closedBecause !== undefined) return
    this.#closedBecause = reason
    for (const share of this.#shares) share.close()
    for (const layer of this.#layers) layer.release()
    this.#view?.release()
    this.#onClose(this)
  }

  /** The entries of an interval, for the engine's own scans. */
  *walkSync(interval: KeyInterval): IterableIterator<Entry> {
    this.#assertOpen()
    throwIfAborted(interval.signal, 'scan')
    const scan = this.#mergeSync(interval)
    while (scan.next()) {
      yield [scan.key, scan.value]
      this.#assertOpen()
      throwIfAborted(interval.signal, 'scan')
    }
  }

  /** The entries of an interval, for the engine's own scans. */
  async *walk(interval: KeyInterval): AsyncIterableIterator<Entry> {
    const open = (layers: readonly SortedLayer[]) => scanLayers(layers, this.#view, this.takenAtMs, interval)
    for await (const { key, value } of this.#entries(open, 'scan', interval.signal)) yield [key, value]
  }

  *#deferredSync(interval: () => KeyInterval): IterableIterator<Entry> {
    yield* this.walkSync(interval())
  }

  async *#deferred(interval: () => KeyInterval): AsyncIterableIterator<Entry> {
    yield* this.walk(interval())
  }

  async *#packed(
    open: (layers: readonly SortedLayer[]) => MergedScan,
    operation: string,
    { targetBytes = DEFAULT_BLOCK_BYTES, signal }: BlockOptions = {},
  ): AsyncIterableIterator<EntryBlock> {
    const builder = new EntryBlockBuilder(targetBytes)
    for await (const { key, value, expiresAtMs, deleted } of this.#entries(open, operation, signal)) {
      if (deleted) builder.addTombstone(key)
      else builder.add(key, 0, key.length, value, 0, value.length, expiresAtMs)
      if (!builder.full) continue
      yield builder.take()
      this.#assertOpen()
      throwIfAborted(signal, operation)
    }
    if (builder.entryCount > 0) yield builder.take()
  }

  /** The same object again and again, at the next entry each time. */
  async *#entries(
    open: (layers: readonly SortedLayer[]) => MergedScan,
    operation: string,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<MergedScan, void, undefined> {
    const check = () => {
      this.#assertOpen()
      throwIfAborted(signal, operation)
    }
    check()
    const scan = open(await this.#sorted(check))
    for (let walked = 1; ; walked++) {
      const found = scan.next(TURN_KEYS)
      if (!found && !scan.paused) return
      if (!found || walked % TURN_KEYS === 0) await nextTurn()
      check()
      if (found) yield scan
      check()
    }
  }

  #mergeSync(interval: KeyInterval): MergedScan {
    return scanLayers(this.#sortedNow(), this.#view, this.takenAtMs, interval)
  }

  #sortedNow(): SortedLayer[] {
    return this.#layers.map((layer) => ({ ...layer, sorted: layer.log.ordered.sortedNow() }))
  }

  async #sorted(check: () => void): Promise<SortedLayer[]> {
    const sorted: SortedLayer[] = []
    for (const layer of this.#layers) {
      sorted.push({ ...layer, sorted: await layer.log.ordered.sorted(check) })
    }
    check()
    return sorted
  }

  #assertOpen(): void {
    const reason = this.#closedBecause
    if (reason === undefined) return
    throw new StateError('CLOSED', { component: reason === '' ? 'snapshot' : `snapshot (${reason})` })
  }
}

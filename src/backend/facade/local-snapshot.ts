import { StateError } from '../../base/errors.js'
import { invalidArgument } from '../../base/options.js'
import { nextTurn } from '../../base/slices.js'
import { DEFAULT_BLOCK_BYTES, validateBlockOptions } from '../block-options.js'
import { type EntryBlock, EntryBlockBuilder } from '../entry-block.js'
import { capturedInterval, EVERYTHING, type KeyInterval } from '../scan-range.js'
import type { SharedSnapshot } from '../shared-snapshot.js'
import type { ChangeBase, SyncStateSnapshot } from '../state-snapshot.js'
import type { BlockOptions, Entry, ScanRange } from '../types.js'
import { throwIfAborted, validateKey, validateKeys } from '../validate.js'
import type { EngineEntry, EngineSnapshot } from './engines.js'

/** Entries between two looks at the event loop. */
const TURN_ENTRIES = 1_024

/** The snapshot of a local engine, as its users see it. */
export class LocalSnapshot implements SyncStateSnapshot {
  readonly takenAtMs: number
  readonly #engine: EngineSnapshot
  readonly #onClose: (snapshot: LocalSnapshot) => void
  #closed = false

  constructor(engine: EngineSnapshot, takenAtMs: number, onClose: (snapshot: LocalSnapshot) => void) {
    this.#engine = engine
    this.takenAtMs = takenAtMs
    this.#onClose = onClose
    if (engine.share !== undefined) this.share = (what = 'all') => this.#share(what)
  }

  /** Only where the engine's snapshots can be shared. */
  share?: (what?: 'all' | 'changes') => SharedSnapshot | undefined

  get base(): ChangeBase | undefined {
    return this.#engine.base
  }

  get tellsChanges(): boolean {
    return this.#engine.tellsChanges
  }

  getSync(key: Uint8Array): Uint8Array | undefined {
    this.#assertOpen()
    validateKey(key)
    return this.#engine.get(key)
  }

  containsSync(key: Uint8Array): boolean {
    return this.getSync(key) !== undefined
  }

  scanSync(range?: ScanRange): IterableIterator<Entry> {
    return this.#scanSync(capturedInterval(range))
  }

  countSync(): number {
    this.#assertOpen()
    return this.#engine.count()
  }

  closeSync(): void {
    if (this.#closed) return
    this.#closed = true
    this.#engine.close()
    this.#onClose(this)
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

  scan(range?: ScanRange): AsyncIterableIterator<Entry> {
    return this.#scan(capturedInterval(range))
  }

  async count(): Promise<number> {
    return this.countSync()
  }

  async *blocks(options?: BlockOptions): AsyncIterableIterator<EntryBlock> {
    this.#assertOpen()
    validateBlockOptions(options)
    yield* this.#packed(() => this.#engine.entries(EVERYTHING), 'blocks', options)
  }

  async *changes(options?: BlockOptions): AsyncIterableIterator<EntryBlock> {
    this.#assertOpen()
    validateBlockOptions(options)
    if (!this.tellsChanges) throw invalidArgument('since', 'is no base that changes can be told since')
    yield* this.#packed(() => this.#engine.changes(), 'changes', options)
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

  #share(what: 'all' | 'changes'): SharedSnapshot | undefined {
    this.#assertOpen()
    return what === 'all' || this.tellsChanges ? this.#engine.share?.(what) : undefined
  }

  *#scanSync(interval: () => KeyInterval): IterableIterator<Entry> {
    yield* this.walk(interval())
  }

  /** The entries of an interval, for the backend's own scans. */
  *walk({ signal, limit, ...rest }: KeyInterval): IterableIterator<Entry> {
    const check = () => {
      this.#assertOpen()
      throwIfAborted(signal, 'scan')
    }
    check()
    if (limit === 0) return
    let left = limit
    for (const { key, value } of this.#engine.entries({ signal, limit, ...rest })) {
      if (value === undefined) continue
      yield [key, value]
      check()
      if (--left <= 0) return
    }
  }

  async *#scan(interval: () => KeyInterval): AsyncIterableIterator<Entry> {
    yield* this.#scanSync(interval)
  }

  async *#packed(
    entries: () => Iterable<EngineEntry>,
    operation: string,
    { targetBytes = DEFAULT_BLOCK_BYTES, signal }: BlockOptions = {},
  ): AsyncIterableIterator<EntryBlock> {
    const check = () => {
      this.#assertOpen()
      throwIfAborted(signal, operation)
    }
    check()
    const builder = new EntryBlockBuilder(targetBytes)
    let walked = 0
    for (const { key, value, expiresAtMs } of entries()) {
      if (value === undefined) builder.addTombstone(key)
      else builder.add(key, 0, key.length, value, 0, value.length, expiresAtMs)
      if (builder.full) {
        yield builder.take()
        check()
      } else if (++walked % TURN_ENTRIES === 0) {
        await nextTurn()
        check()
      }
    }
    if (builder.entryCount > 0) yield builder.take()
  }

  #assertOpen(): void {
    if (this.#closed) throw new StateError('CLOSED', { component: 'snapshot' })
  }
}

import { throwIfAborted } from '../../base/abort.js'
import { StateError } from '../../base/errors.js'
import { invalidArgument } from '../../base/options.js'
import { nextTurn } from '../../base/slices.js'
import { DEFAULT_BLOCK_BYTES, validateBlockOptions } from '../block-options.js'
import { type EntryBlock, EntryBlockBuilder } from '../entry-block.js'
import { capturedInterval, EVERYTHING, type KeyInterval } from '../scan-range.js'
import type { SharedSnapshot } from '../shared-snapshot.js'
import type { KeyFilter } from '../state-backend.js'
import type { ChangeBase, SyncStateSnapshot } from '../state-snapshot.js'
import type { BlockOptions, Entry, ScanRange } from '../types.js'
import { validateKey, validateKeys } from '../validate.js'
import type { EngineSnapshot, EngineStep } from './engines.js'

/** Entries walked by asynchronous calls between two turns of the event loop. */
const TURN_ENTRIES = 512

/** The snapshot of a local engine, as its users see it. */
export class LocalSnapshot implements SyncStateSnapshot {
  readonly takenAtMs: number
  readonly #engine: EngineSnapshot
  readonly #onClose: (snapshot: LocalSnapshot) => void
  /** Why, where it is closed; empty: by its user, or with its backend. */
  #closedBecause: string | undefined

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
    this.closeBecause('')
  }

  /** Closes with a reason that later calls give. */
  closeBecause(reason: string): void {
    if (this.#closedBecause !== undefined) return
    this.#closedBecause = reason
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
    this.#assertOpen()
    return (await this.#engine.countInSlices?.(() => this.#assertOpen())) ?? this.#engine.count()
  }

  async *blocks(options?: BlockOptions): AsyncIterableIterator<EntryBlock> {
    this.#assertOpen()
    validateBlockOptions(options)
    if (this.#engine.packed === undefined) {
      yield* this.#packed((check) => this.#steps(EVERYTHING, check), 'blocks', options)
    } else yield* this.#packedByEngine('all', 'blocks', options)
  }

  async *changes(options?: BlockOptions): AsyncIterableIterator<EntryBlock> {
    this.#assertOpen()
    validateBlockOptions(options)
    if (!this.tellsChanges) throw invalidArgument('since', 'is no base that changes can be told since')
    if (this.#engine.packed === undefined) {
      yield* this.#packed((check) => this.#engine.changes(check), 'changes', options)
    } else yield* this.#packedByEngine('changes', 'changes', options)
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

  /** The entries of an interval, for the backend's own scans. */
  *walkSync(interval: KeyInterval): IterableIterator<Entry> {
    const check = this.#checkOf('scan', interval.signal)
    check()
    let left = interval.limit
    if (left === 0) return
    for (const step of this.#engine.entries(interval)) {
      if (step?.value === undefined) continue
      yield [step.key, step.value]
      check()
      if (--left <= 0) return
    }
  }

  /** The entries of keys that are wanted, in any order; of an engine that has them so. `undefined` where others may have a turn. */
  *walkUnsorted(isWanted: KeyFilter): IterableIterator<Entry | undefined> {
    const check = this.#checkOf('scan', undefined)
    check()
    for (const step of this.#engine.unsorted?.(isWanted) ?? []) {
      yield step?.value === undefined ? undefined : [step.key, step.value]
      check()
    }
  }

  /** The same with turns of the event loop in between. */
  async *walk(interval: KeyInterval): AsyncIterableIterator<Entry> {
    const check = this.#checkOf('scan', interval.signal)
    check()
    let left = interval.limit
    if (left === 0) return
    let walked = 0
    for (const step of await this.#steps(interval, check)) {
      if (step === undefined || ++walked % TURN_ENTRIES === 0) {
        await nextTurn()
        check()
      }
      if (step?.value === undefined) continue
      yield [step.key, step.value]
      check()
      if (--left <= 0) return
    }
  }

  *#scanSync(interval: () => KeyInterval): IterableIterator<Entry> {
    yield* this.walkSync(interval())
  }

  async *#scan(interval: () => KeyInterval): AsyncIterableIterator<Entry> {
    yield* this.walk(interval())
  }

  async *#packedByEngine(
    what: 'all' | 'changes',
    operation: string,
    { targetBytes = DEFAULT_BLOCK_BYTES, signal }: BlockOptions = {},
  ): AsyncIterableIterator<EntryBlock> {
    const check = this.#checkOf(operation, signal)
    check()
    for await (const block of this.#engine.packed?.(what, { targetBytes, signal, check }) ?? []) {
      yield block
      check()
    }
  }

  async *#packed(
    open: (check: () => void) => Iterable<EngineStep> | Promise<Iterable<EngineStep>>,
    operation: string,
    { targetBytes = DEFAULT_BLOCK_BYTES, signal }: BlockOptions = {},
  ): AsyncIterableIterator<EntryBlock> {
    const check = this.#checkOf(operation, signal)
    check()
    const builder = new EntryBlockBuilder(targetBytes)
    let walked = 0
    for (const step of await open(check)) {
      if (step === undefined || ++walked % TURN_ENTRIES === 0) {
        await nextTurn()
        check()
      }
      if (step === undefined) continue
      const { key, value, expiresAtMs } = step
      if (value === undefined) builder.addTombstone(key)
      else builder.add(key, value, expiresAtMs)
      if (!builder.full) continue
      yield builder.take()
      check()
    }
    if (builder.entryCount > 0) yield builder.take()
  }

  async #steps(interval: KeyInterval, check: () => void): Promise<Iterable<EngineStep>> {
    return (await this.#engine.entriesInSlices?.(interval, check)) ?? this.#engine.entries(interval)
  }

  /** Throws where a walk is to end before its next entry. */
  #checkOf(operation: string, signal: AbortSignal | undefined): () => void {
    return () => {
      this.#assertOpen()
      throwIfAborted(signal, operation)
    }
  }

  #assertOpen(): void {
    const reason = this.#closedBecause
    if (reason === undefined) return
    throw new StateError('CLOSED', { component: reason === '' ? 'snapshot' : `snapshot (${reason})` })
  }
}

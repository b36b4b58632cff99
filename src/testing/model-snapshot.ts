import { DEFAULT_BLOCK_BYTES, validateBlockOptions } from '../backend/block-options.js'
import type { EntryBlock } from '../backend/entry-block.js'
import { type KeyInterval, keyInterval } from '../backend/scan-range.js'
import type { SharedSnapshot } from '../backend/shared-snapshot.js'
import type { ChangeBase, SnapshotOptions, SyncStateSnapshot } from '../backend/state-snapshot.js'
import type { BlockOptions, Entry, ScanRange } from '../backend/types.js'
import { throwIfAborted, validateKey, validateKeys } from '../backend/validate.js'
import { StateError } from '../base/errors.js'
import { invalidArgument } from '../base/options.js'
import { changedKeys, ModelChangeBase, packable, sharedModel } from './model-changes.js'
import { entriesIn, keyText, type ModelEntries, sortedKeys } from './model-entries.js'
import { packed } from './model-pack.js'

/** A copy of what the model held at one instant. */
export class ModelSnapshot implements SyncStateSnapshot {
  readonly takenAtMs: number
  readonly base: ChangeBase | undefined
  readonly tellsChanges: boolean
  readonly #entries: ModelEntries
  /** In order; of what has changed since the base that was given. */
  readonly #changed: readonly string[]
  readonly #onClose: (snapshot: ModelSnapshot) => void
  #closed = false

  /**
   * @param entries a copy that is the snapshot's own, without what had expired.
   * @param content stands for the content: it is another one after the whole was replaced.
   */
  constructor(
    entries: ModelEntries,
    takenAtMs: number,
    content: object,
    { track = false, since }: SnapshotOptions,
    onClose: (snapshot: ModelSnapshot) => void,
  ) {
    this.#entries = entries
    this.takenAtMs = takenAtMs
    this.base = track ? new ModelChangeBase(entries, content) : undefined
    const known = since instanceof ModelChangeBase && !since.released && since.content === content
    this.tellsChanges = known
    this.#changed = known ? changedKeys(entries, since.entries) : []
    this.#onClose = onClose
  }

  getSync(key: Uint8Array): Uint8Array | undefined {
    this.#requireOpen()
    validateKey(key)
    return this.#entries.get(keyText(key))?.value.slice()
  }

  containsSync(key: Uint8Array): boolean {
    this.#requireOpen()
    validateKey(key)
    return this.#entries.has(keyText(key))
  }

  scanSync(range?: ScanRange): IterableIterator<Entry> {
    this.#requireOpen()
    return this.#scan(keyInterval(range))
  }

  countSync(): number {
    this.#requireOpen()
    return this.#entries.size
  }

  closeSync(): void {
    if (this.#closed) return
    this.#closed = true
    this.#onClose(this)
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.getSync(key)
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    this.#requireOpen()
    validateKeys(keys)
    return keys.map((key) => this.getSync(key))
  }

  async contains(key: Uint8Array): Promise<boolean> {
    return this.containsSync(key)
  }

  scan(range?: ScanRange): AsyncIterableIterator<Entry> {
    return asyncEntries(this.scanSync(range))
  }

  async count(): Promise<number> {
    return this.countSync()
  }

  blocks(options?: BlockOptions): AsyncIterableIterator<EntryBlock> {
    this.#requireOpen()
    validateBlockOptions(options)
    return this.#packed(sortedKeys(this.#entries), 'blocks', options)
  }

  changes(options?: BlockOptions): AsyncIterableIterator<EntryBlock> {
    this.#requireOpen()
    validateBlockOptions(options)
    if (!this.tellsChanges) throw invalidArgument('since', 'is no base that changes can be told since')
    return this.#packed(this.#changed, 'changes', options)
  }

  share(what: 'all' | 'changes' = 'all'): SharedSnapshot | undefined {
    this.#requireOpen()
    if (what === 'all') return sharedModel(this.#entries, sortedKeys(this.#entries))
    return this.tellsChanges ? sharedModel(this.#entries, this.#changed) : undefined
  }

  async close(): Promise<void> {
    this.closeSync()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.closeSync()
  }

  [Symbol.dispose](): void {
    this.closeSync()
  }

  *#scan(interval: KeyInterval): Generator<Entry, undefined> {
    this.#requireOpen()
    throwIfAborted(interval.signal, 'scan')
    for (const entry of entriesIn(this.#entries, interval)) {
      yield entry
      this.#requireOpen()
      throwIfAborted(interval.signal, 'scan')
    }
  }

  async *#packed(
    keys: readonly string[],
    operation: string,
    { targetBytes = DEFAULT_BLOCK_BYTES, signal }: BlockOptions = {},
  ): AsyncGenerator<EntryBlock, undefined> {
    this.#requireOpen()
    throwIfAborted(signal, operation)
    for (const block of packed(packable(this.#entries, keys), targetBytes)) {
      yield block
      this.#requireOpen()
      throwIfAborted(signal, operation)
    }
  }

  #requireOpen(): void {
    if (this.#closed) throw new StateError('CLOSED', { component: 'snapshot' })
  }
}

/** The same entries one promise at a time. Leaving the loop early leaves the one underneath early, too. */
export async function* asyncEntries(entries: IterableIterator<Entry>): AsyncGenerator<Entry, undefined> {
  yield* entries
}

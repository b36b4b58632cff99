import { DEFAULT_BLOCK_BYTES, validateBlockOptions } from '../backend/block-options.js'
import { type EntryBlock, EntryBlockBuilder } from '../backend/entry-block.js'
import { type KeyInterval, keyInterval } from '../backend/scan-range.js'
import type { ChangeBase, SharedSnapshot } from '../backend/shared-snapshot.js'
import type { SyncStateSnapshot } from '../backend/state-backend.js'
import type { BlockOptions, Entry, ScanRange } from '../backend/types.js'
import { throwIfAborted, validateKey, validateKeys } from '../backend/validate.js'
import { assert } from '../base/assert.js'
import { StateError } from '../base/errors.js'
import { ModelChangeBase, sharedModel } from './model-changes.js'
import {
  entriesIn,
  keyBytes,
  keyText,
  type ModelEntries,
  type ModelEntry,
  sortedKeys,
} from './model-entries.js'

/** An entry's header in a block, with and without an expiry (see entry-block.ts). */
const HEADER_BYTES = 8
const EXPIRING_HEADER_BYTES = 16

/** A copy of what the model held at one instant. */
export class ModelSnapshot implements SyncStateSnapshot {
  readonly takenAtMs: number
  readonly #entries: ModelEntries
  readonly #content: object
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
    onClose: (snapshot: ModelSnapshot) => void,
  ) {
    this.#entries = entries
    this.#content = content
    this.takenAtMs = takenAtMs
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
    return this.#blocks(options?.targetBytes ?? DEFAULT_BLOCK_BYTES, options?.signal)
  }

  trackChanges(): ChangeBase {
    this.#requireOpen()
    return new ModelChangeBase(this.#entries, this.#content)
  }

  share(since?: ChangeBase): SharedSnapshot | undefined {
    this.#requireOpen()
    if (since === undefined) return sharedModel(this.#entries, undefined)
    assert(since instanceof ModelChangeBase && !since.released, 'changes are asked for since a base that is held')
    return since.content === this.#content ? sharedModel(this.#entries, since) : undefined
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

  async *#blocks(
    targetBytes: number,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<EntryBlock, undefined> {
    this.#requireOpen()
    throwIfAborted(signal, 'blocks')
    const builder = new EntryBlockBuilder(targetBytes)
    let builtBytes = 0
    for (const text of sortedKeys(this.#entries)) {
      const { value, expiresAtMs } = this.#entries.get(text) as ModelEntry
      const headerBytes = expiresAtMs === Infinity ? HEADER_BYTES : EXPIRING_HEADER_BYTES
      const entryBytes = headerBytes + text.length + value.length
      if (builder.entryCount > 0 && builtBytes + entryBytes > targetBytes) {
        builtBytes = 0
        yield builder.take()
        this.#requireOpen()
        throwIfAborted(signal, 'blocks')
      }
      builder.add(keyBytes(text), 0, text.length, value, 0, value.length, expiresAtMs)
      builtBytes += entryBytes
    }
    if (builder.entryCount > 0) yield builder.take()
  }

  #requireOpen(): void {
    if (this.#closed) throw new StateError('CLOSED', { component: 'snapshot' })
  }
}

/** The same entries one promise at a time. Leaving the loop early leaves the one underneath early, too. */
export async function* asyncEntries(entries: IterableIterator<Entry>): AsyncGenerator<Entry, undefined> {
  yield* entries
}

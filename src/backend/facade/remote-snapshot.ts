import { throwIfAborted } from '../../base/abort.js'
import { copyBytes } from '../../base/bytes.js'
import { StateError } from '../../base/errors.js'
import { invalidArgument } from '../../base/options.js'
import { DEFAULT_BLOCK_BYTES, validateBlockOptions } from '../block-options.js'
import { type EntryBlock, EntryBlockBuilder } from '../entry-block.js'
import { capturedInterval, EVERYTHING, isEmptyInterval, type KeyInterval } from '../scan-range.js'
import type { StateSnapshot } from '../state-snapshot.js'
import type { BlockOptions, Entry, ScanRange } from '../types.js'
import { validateKey, validateKeys } from '../validate.js'
import type { RemoteEngineSnapshot } from './engines.js'

/** The snapshot of an engine somewhere else, as its users see it. It is no base, and tells no changes. */
export class RemoteSnapshot implements StateSnapshot {
  readonly takenAtMs: number
  readonly base: undefined
  readonly tellsChanges = false
  readonly #engine: RemoteEngineSnapshot
  readonly #onClose: () => void
  #closing: Promise<void> | undefined

  constructor(engine: RemoteEngineSnapshot, takenAtMs: number, onClose: () => void) {
    this.#engine = engine
    this.takenAtMs = takenAtMs
    this.#onClose = onClose
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    this.#assertOpen()
    validateKey(key)
    const [value] = await this.#engine.getMany([copyBytes(key)])
    return value
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    this.#assertOpen()
    validateKeys(keys)
    return await this.#engine.getMany(keys.map(copyBytes))
  }

  async contains(key: Uint8Array): Promise<boolean> {
    return (await this.get(key)) !== undefined
  }

  scan(range?: ScanRange): AsyncIterableIterator<Entry> {
    return this.#scan(capturedInterval(range))
  }

  async count(): Promise<number> {
    this.#assertOpen()
    return await this.#engine.count()
  }

  blocks(options?: BlockOptions): AsyncIterableIterator<EntryBlock> {
    return this.#packed('all', options)
  }

  changes(options?: BlockOptions): AsyncIterableIterator<EntryBlock> {
    return this.#packed('changes', options)
  }

  async *#packed(what: 'all' | 'changes', options?: BlockOptions): AsyncIterableIterator<EntryBlock> {
    this.#assertOpen()
    validateBlockOptions(options)
    if (what === 'changes') throw invalidArgument('since', 'is no base that changes can be told since')
    const { targetBytes = DEFAULT_BLOCK_BYTES, signal } = options ?? {}
    const check = this.#checkOf('blocks', signal)
    check()
    const builder = new EntryBlockBuilder(targetBytes)
    for await (const { key, value, expiresAtMs } of this.#engine.entries(EVERYTHING)) {
      check()
      if (value !== undefined) builder.add(key, value, expiresAtMs)
      if (!builder.full) continue
      yield builder.take()
      check()
    }
    if (builder.entryCount > 0) yield builder.take()
  }

  close(): Promise<void> {
    if (this.#closing === undefined) {
      this.#onClose()
      this.#closing = this.#engine.close()
    }
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async *#scan(interval: () => KeyInterval): AsyncIterableIterator<Entry> {
    const drawn = interval()
    const check = this.#checkOf('scan', drawn.signal)
    check()
    let left = drawn.limit
    if (left === 0 || isEmptyInterval(drawn)) return
    for await (const { key, value } of this.#engine.entries(drawn)) {
      check()
      if (value === undefined) continue
      yield [key, value]
      check()
      if (--left <= 0) return
    }
  }

  #checkOf(operation: string, signal: AbortSignal | undefined): () => void {
    return () => {
      this.#assertOpen()
      throwIfAborted(signal, operation)
    }
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new StateError('CLOSED', { component: 'snapshot' })
  }
}

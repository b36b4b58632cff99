import { throwIfAborted } from '../../base/abort.js'
import { copyBytes } from '../../base/bytes.js'
import { diagnostics, timedOn } from '../../base/diagnostics.js'
import { StateError } from '../../base/errors.js'
import { invalidArgument } from '../../base/options.js'
import { validateReplaceOptions } from '../block-options.js'
import { checkedBlocks } from '../block-stream.js'
import type { EntryBlock } from '../entry-block.js'
import { expiryOf } from '../expiry.js'
import {
  capturedInterval,
  isEmptyInterval,
  type KeyInterval,
  keyStretch,
  prefixRange,
} from '../scan-range.js'
import type { StateBackend } from '../state-backend.js'
import { type SnapshotOptions, type StateSnapshot, validateSnapshotOptions } from '../state-snapshot.js'
import type {
  BackendStats,
  BackendSupport,
  Entry,
  KeyRange,
  PutOptions,
  ReplaceOptions,
  ScanRange,
} from '../types.js'
import { validateBlocks, validateKey, validateKeys } from '../validate.js'
import { type BatchCursor, isWriteBatch, OperationKind, WriteBatch } from '../write-batch.js'
import { Counters } from './counters.js'
import type { EngineBatch, RemoteEngine } from './engines.js'
import { LifeCycle } from './life-cycle.js'
import { RemoteSnapshot } from './remote-snapshot.js'

/**
 * The public face of an engine somewhere else: checks and copies arguments within the call, knows whether it is open, counts what
 * has been applied. What it lacks (`supports`) is not there: no synchronous calls, and snapshots only where a class that extends
 * this one adds them.
 */
export class RemoteBackend implements StateBackend {
  readonly name: string
  readonly supports: BackendSupport
  readonly #engine: RemoteEngine
  readonly #life: LifeCycle
  readonly #counters = new Counters()
  #runningScans = 0
  readonly #snapshots = new Set<RemoteSnapshot>()

  constructor(engine: RemoteEngine) {
    this.name = engine.name
    this.supports = engine.supports
    this.#engine = engine
    this.#life = new LifeCycle(engine.name)
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    this.#life.assertOpen()
    validateKey(key)
    const [value] = await this.#read([key])
    return value
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    this.#life.assertOpen()
    validateKeys(keys)
    return await this.#read(keys)
  }

  async getOrThrow(key: Uint8Array): Promise<Uint8Array> {
    this.#life.assertOpen()
    validateKey(key)
    const own = copyBytes(key)
    const [value] = await this.#read([own])
    if (value !== undefined) return value
    const expiredAtMs = await this.#engine.expiredAtMs(own)
    if (expiredAtMs === undefined) throw new StateError('KEY_NOT_FOUND', { key: own })
    const expiredForMs = this.#engine.clock.now() - expiredAtMs
    throw new StateError('STATE_EXPIRED', { key: own, expiredAtMs, expiredForMs })
  }

  async put(key: Uint8Array, value: Uint8Array, options?: PutOptions): Promise<void> {
    this.#life.assertWritable('put')
    await this.#apply(new WriteBatch().put(key, value, options))
  }

  async delete(key: Uint8Array): Promise<void> {
    this.#life.assertWritable('delete')
    await this.#apply(new WriteBatch().delete(key))
  }

  async contains(key: Uint8Array): Promise<boolean> {
    this.#life.assertOpen()
    validateKey(key)
    const own = copyBytes(key)
    return await this.#call('contains', () => this.#engine.has(own))
  }

  async write(batch: WriteBatch): Promise<void> {
    this.#life.assertWritable('write')
    if (!isWriteBatch(batch)) throw invalidArgument('batch', 'must be a WriteBatch')
    await this.#apply(batch.copy())
  }

  async deleteRange(range: KeyRange): Promise<void> {
    this.#life.assertWritable('deleteRange')
    const interval = keyStretch(range)
    if (!isEmptyInterval(interval)) await this.#call('deleteRange', () => this.#engine.deleteRange(interval))
    this.#counters.deletes++
  }

  scan(range?: ScanRange): AsyncIterableIterator<Entry> {
    return this.#scan(capturedInterval(range))
  }

  async listKeys(prefix: Uint8Array): Promise<Uint8Array[]> {
    const keys: Uint8Array[] = []
    for await (const [key] of this.scan(prefixRange(prefix))) keys.push(key)
    return keys
  }

  async count(): Promise<number> {
    this.#life.assertOpen()
    return await this.#call('count', () => this.#engine.count())
  }

  async clear(): Promise<void> {
    this.#life.assertWritable('clear')
    await this.#call('clear', () => this.#engine.clear())
  }

  async flush(): Promise<void> {
    this.#life.assertOpen()
    await this.#call('flush', () => this.#engine.flush())
    this.#counters.flushes++
  }

  stats(): BackendStats {
    this.#life.assertOpen()
    const { entries, expired } = this.#engine
    return {
      ...this.#counters.read(),
      expired,
      entries,
      openSnapshots: this.#runningScans + this.#snapshots.size,
    }
  }

  close(): Promise<void> {
    return this.#life.close(async () => {
      const snapshotsClosed = Promise.allSettled([...this.#snapshots].map((snapshot) => snapshot.close()))
      await this.#engine.close(snapshotsClosed)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** For backends whose engine has snapshots: `SnapshotSource.snapshot`. */
  protected async openSnapshot(options?: SnapshotOptions): Promise<StateSnapshot> {
    this.#life.assertOpen()
    validateSnapshotOptions(options)
    const engine = this.#engine
    if (engine.snapshot === undefined) throw new Error(`engine '${this.name}' has no snapshots`)
    const takenAtMs = engine.clock.now()
    const opened = await engine.snapshot(takenAtMs)
    const snapshot = new RemoteSnapshot(opened, takenAtMs, () => this.#snapshots.delete(snapshot))
    this.#snapshots.add(snapshot)
    if (!this.#life.isOpen) await snapshot.close()
    this.#life.assertOpen()
    return snapshot
  }

  /** For backends whose engine can be replaced: `Replaceable.replaceAll`. */
  protected async replaceContent(blocks: AsyncIterable<EntryBlock>, options?: ReplaceOptions): Promise<void> {
    this.#life.assertWritable('replaceAll')
    validateBlocks(blocks)
    validateReplaceOptions(options)
    const engine = this.#engine
    if (engine.replace === undefined) throw new Error(`engine '${this.name}' cannot be replaced`)
    const { clockMs, expectedEntries, signal } = options ?? {}
    const interval = keyStretch(options?.range ?? {})
    const checked = checkedBlocks(blocks, interval, signal, () => this.#life.assertOpen())
    await this.#life.whileReplacing(async () => {
      await engine.replace?.(checked, interval, { clockMs, expectedEntries })
    })
  }

  /** Applies a batch in a way of the engine's own, and counts it. */
  protected async applyBy(
    batch: WriteBatch,
    operation: string,
    write: (batch: EngineBatch) => Promise<void>,
  ): Promise<void> {
    this.#life.assertWritable(operation)
    if (!isWriteBatch(batch)) throw invalidArgument('batch', 'must be a WriteBatch')
    await this.#apply(batch.copy(), write)
  }

  async #read(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    const engine = this.#engine
    const own = engine.readsKeysAtOnce === true ? keys : keys.map(copyBytes)
    const values = await this.#call('get', () => engine.getMany(own))
    for (const value of values) this.#counters.noteRead(value)
    return values
  }

  /** The batch is this call's own. Counted once it has been applied. */
  async #apply(
    batch: WriteBatch,
    write: (batch: EngineBatch) => Promise<void> = (engineBatch) => this.#engine.write(engineBatch),
  ): Promise<void> {
    const { clock, ttlMs: defaultMs } = this.#engine
    const cursor = batch.cursor()
    if (!this.supports.ttl) assertNoTtl(cursor, this.name)
    cursor.rewind()
    const expiry = (ttlMs: number | undefined) => expiryOf(ttlMs ?? defaultMs, clock)
    await this.#call('write', () => write({ cursor, expiry }))
    this.#counters.noteBatch(cursor)
  }

  /** A call of the engine, which is timed where somebody listens. */
  #call<Result>(call: string, begin: () => Promise<Result>): Promise<Result> {
    const heard = diagnostics['holdfast:engine.call']
    return heard.hasSubscribers ? timedOn(heard, { backend: this.name, call }, begin) : begin()
  }

  async *#scan(interval: () => KeyInterval): AsyncIterableIterator<Entry> {
    this.#life.assertOpen()
    const drawn = interval()
    const check = () => {
      this.#life.assertOpen()
      throwIfAborted(drawn.signal, 'scan')
    }
    check()
    let left = drawn.limit
    if (left === 0 || isEmptyInterval(drawn)) return
    this.#runningScans++
    try {
      for await (const entry of this.#engine.scan(drawn)) {
        check()
        yield entry
        check()
        if (--left <= 0) return
      }
    } finally {
      this.#runningScans--
    }
  }
}

/** An engine without times to live must not take one and forget it. */
function assertNoTtl(cursor: BatchCursor, name: string): void {
  while (cursor.next()) {
    if (cursor.kind !== OperationKind.PUT || cursor.ttlMs === undefined || cursor.ttlMs === Infinity) continue
    throw invalidArgument('options.ttlMs', `is not supported by '${name}' (supports.ttl)`)
  }
}

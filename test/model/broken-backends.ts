// The reference model with one promise broken each. A test suite for backends is worth something if it notices.

import { type EntryBlock, EntryBlockCursor } from '../../src/backend/entry-block.js'
import type { LocalSnapshot } from '../../src/backend/facade/local-snapshot.js'
import type { KeyInterval } from '../../src/backend/scan-range.js'
import type { ExpirySource, Replaceable, SyncStateBackend } from '../../src/backend/state-backend.js'
import type { SnapshotOptions } from '../../src/backend/state-snapshot.js'
import type {
  BackendStats,
  Entry,
  ExpiryEvents,
  KeyRange,
  PutOptions,
  ReplaceOptions,
  ScanRange,
} from '../../src/backend/types.js'
import { isDelete, OperationKind, WriteBatch } from '../../src/backend/write-batch.js'
import { isStateError, StateError } from '../../src/base/errors.js'
import { ModelStateBackend, type ModelStateBackendOptions } from '../../src/testing/model-state-backend.js'

export interface BrokenBackend {
  /** What it does wrong, after 'a backend that'. */
  readonly does: string
  /** The topic of the conformance suite that must notice. */
  readonly caughtBy: string
  readonly Backend: new (options: ModelStateBackendOptions) => SyncStateBackend & Replaceable
}

const text = (key: Uint8Array): string => Buffer.from(key).toString('latin1')

async function ignoring(code: 'BACKEND_FULL' | 'CORRUPTION' | 'CLOSED', call: () => unknown): Promise<void> {
  try {
    await call()
  } catch (error) {
    if (!isStateError(error, code)) throw error
  }
}

/** The operations of a batch as batches of their own. */
function split(batch: WriteBatch, keep: (kind: OperationKind) => boolean): WriteBatch[] {
  const singles: WriteBatch[] = []
  const cursor = batch.cursor()
  while (cursor.next()) {
    if (!keep(cursor.kind)) continue
    const single = new WriteBatch()
    const ttl = cursor.ttlMs === undefined ? {} : { ttlMs: cursor.ttlMs }
    if (cursor.kind === OperationKind.PUT) single.put(cursor.key(), cursor.value(), ttl)
    else if (cursor.kind === OperationKind.DELETE) single.delete(cursor.key())
    else if (cursor.kind === OperationKind.DELETE_RANGE) single.deleteRange(rangeOf(cursor.interval()))
    else single.expect(cursor.key(), cursor.kind === OperationKind.EXPECT_ABSENT ? undefined : cursor.value())
    singles.push(single)
  }
  return singles
}

/** The range that an interval was made of. */
export function rangeOf({ from, until }: KeyInterval): KeyRange {
  return { gte: from, ...(until !== undefined && { lt: until }) }
}

const isWrite = (kind: OperationKind): boolean => kind === OperationKind.PUT || isDelete(kind)

/** Its asynchronous scans are its synchronous ones, so that both are broken alike. */
class ScannedModel extends ModelStateBackend {
  override async *scan(range?: ScanRange): AsyncIterableIterator<Entry> {
    yield* this.scanSync(range)
  }
}

export const brokenBackends: readonly BrokenBackend[] = [
  {
    does: 'hands out its own memory',
    caughtBy: 'keys and values',
    Backend: class extends ModelStateBackend {
      readonly #handedOut = new Map<string, Uint8Array>()
      override getSync(key: Uint8Array): Uint8Array | undefined {
        const value = super.getSync(key)
        const known = this.#handedOut.get(text(key))
        if (value === undefined || known?.length === value.length) return value && known
        this.#handedOut.set(text(key), value)
        return value
      }
      override putSync(key: Uint8Array, value: Uint8Array, options?: PutOptions): void {
        super.putSync(key, value, options)
        const known = this.#handedOut.get(text(key))
        if (known?.length === value.length) known.set(value)
      }
    },
  },
  {
    does: 'keeps the array it was given',
    caughtBy: 'keys and values',
    Backend: class extends ModelStateBackend {
      readonly #given = new Map<string, Uint8Array>()
      override getSync(key: Uint8Array): Uint8Array | undefined {
        const value = super.getSync(key)
        return value && this.#given.get(text(key))?.slice()
      }
      override putSync(key: Uint8Array, value: Uint8Array, options?: PutOptions): void {
        super.putSync(key, value, options)
        this.#given.set(text(key), value)
      }
    },
  },
  {
    does: 'reads its arguments a moment after the call',
    caughtBy: 'keys and values',
    Backend: class extends ModelStateBackend {
      override async put(key: Uint8Array, value: Uint8Array, options?: PutOptions): Promise<void> {
        await Promise.resolve()
        super.putSync(key, value, options)
      }
    },
  },
  {
    does: 'cuts keys at the limit instead of rejecting them',
    caughtBy: 'keys and values',
    Backend: class extends ModelStateBackend {
      override putSync(key: Uint8Array, value: Uint8Array, options?: PutOptions): void {
        super.putSync(key.subarray(0, 2_048), value, options)
      }
    },
  },
  {
    does: 'takes an empty value for none',
    caughtBy: 'keys and values',
    Backend: class extends ModelStateBackend {
      override getSync(key: Uint8Array): Uint8Array | undefined {
        const value = super.getSync(key)
        return value?.length === 0 ? undefined : value
      }
    },
  },
  {
    does: 'orders keys by signed bytes',
    caughtBy: 'ranges and order',
    Backend: class extends ScannedModel {
      override scanSync(range?: ScanRange): IterableIterator<Entry> {
        const entries = [...super.scanSync(range)]
        return entries.sort(([left], [right]) => Buffer.compare(signed(left), signed(right))).values()
      }
    },
  },
  {
    does: 'counts the limit before it turns round',
    caughtBy: 'ranges and order',
    Backend: class extends ScannedModel {
      override scanSync(range?: ScanRange): IterableIterator<Entry> {
        const entries = [...super.scanSync(range && { ...range, reverse: false })]
        return (range?.reverse === true ? entries.reverse() : entries).values()
      }
    },
  },
  {
    does: 'finds nothing below a prefix of 0xff bytes',
    caughtBy: 'ranges and order',
    Backend: class extends ScannedModel {
      override scanSync(range?: ScanRange): IterableIterator<Entry> {
        const { prefix } = range ?? {}
        const last = prefix !== undefined && prefix.length > 0 && prefix.every((byte) => byte === 0xff)
        return super.scanSync(last ? { ...range, lt: prefix } : range)
      }
    },
  },
  {
    does: 'does not look at the signal',
    caughtBy: 'ranges and order',
    Backend: class extends ScannedModel {
      override scanSync(range?: ScanRange): IterableIterator<Entry> {
        if (range?.signal === undefined) return super.scanSync(range)
        const { signal: _, ...others } = range
        return super.scanSync(others)
      }
    },
  },
  {
    does: 'applies the first half of a batch before it fails',
    caughtBy: 'batches',
    Backend: class extends ModelStateBackend {
      override writeSync(batch: WriteBatch): void {
        try {
          super.writeSync(batch)
        } catch (error) {
          const writes = isStateError(error, 'CONCURRENT_MODIFICATION') ? split(batch, isWrite) : []
          for (const write of writes.slice(0, writes.length / 2)) super.writeSync(write)
          throw error
        }
      }
    },
  },
  {
    does: 'ignores expectations',
    caughtBy: 'batches',
    Backend: class extends ModelStateBackend {
      override writeSync(batch: WriteBatch): void {
        if (!(batch instanceof WriteBatch)) super.writeSync(batch)
        for (const write of split(batch, isWrite)) super.writeSync(write)
      }
    },
  },
  {
    does: "checks expectations against the batch's own writes",
    caughtBy: 'batches',
    Backend: class extends ModelStateBackend {
      override writeSync(batch: WriteBatch): void {
        if (!(batch instanceof WriteBatch)) super.writeSync(batch)
        for (const single of split(batch, () => true)) super.writeSync(single)
      }
    },
  },
  {
    does: 'shows later writes in a snapshot',
    caughtBy: 'snapshots and running scans',
    Backend: class extends ModelStateBackend {
      override snapshotSync(options?: SnapshotOptions): LocalSnapshot {
        const snapshot = super.snapshotSync(options)
        snapshot.getSync = (key) => this.getSync(key)
        return snapshot
      }
    },
  },
  {
    does: 'shows later writes in a running scan',
    caughtBy: 'snapshots and running scans',
    Backend: class extends ScannedModel {
      override *scanSync(range?: ScanRange): IterableIterator<Entry> {
        for (const [key, value] of super.scanSync(range)) yield [key, super.getSync(key) ?? value]
      }
    },
  },
  {
    does: 'holds the snapshot of a scan that was left early',
    caughtBy: 'snapshots and running scans',
    Backend: class extends ScannedModel {
      override scanSync(range?: ScanRange): IterableIterator<Entry> {
        const entries = super.scanSync(range)
        return {
          next: () => entries.next(),
          [Symbol.iterator]() {
            return this
          },
        }
      }
    },
  },
  {
    does: 'tells of what has expired within calls of its listeners',
    caughtBy: 'time to live',
    Backend: class extends ModelStateBackend implements ExpirySource {
      readonly #listeners = new Set<(event: ExpiryEvents['expired']) => void>()
      on(_: 'expired', listener: (event: ExpiryEvents['expired']) => void): () => void {
        this.#listeners.add(listener)
        return () => this.#listeners.delete(listener)
      }
      override putSync(key: Uint8Array, value: Uint8Array, options?: PutOptions): void {
        const { expired } = super.stats()
        super.putSync(key, value, options)
        if (super.stats().expired === expired) return
        for (const listener of this.#listeners) listener({ keys: [key] })
      }
    },
  },
  {
    does: 'counts what has expired',
    caughtBy: 'time to live',
    Backend: class extends ModelStateBackend {
      override async count(): Promise<number> {
        return this.stats().entries
      }
    },
  },
  {
    does: 'removes a refreshed entry when its first time is up',
    caughtBy: 'time to live',
    Backend: class extends ModelStateBackend {
      readonly #options: ModelStateBackendOptions
      constructor(options: ModelStateBackendOptions) {
        super(options)
        this.#options = options
      }
      override putSync(key: Uint8Array, value: Uint8Array, options?: PutOptions): void {
        super.putSync(key, value, options)
        const ttlMs = options?.ttlMs ?? Infinity
        const remove = () => void ignoring('CLOSED', () => super.deleteSync(key))
        if (ttlMs < 2 ** 31) this.#options.clock?.setTimer(remove, ttlMs)
      }
    },
  },
  {
    does: 'revives what had expired when the clock jumps back',
    caughtBy: 'time to live',
    Backend: class extends ModelStateBackend {
      readonly #options: ModelStateBackendOptions
      readonly #seen = new Map<string, { value: Uint8Array; expiresAtMs: number }>()
      constructor(options: ModelStateBackendOptions) {
        super(options)
        this.#options = options
      }
      override getSync(key: Uint8Array): Uint8Array | undefined {
        const value = super.getSync(key)
        const seen = this.#seen.get(text(key))
        return seen !== undefined && (this.#options.clock?.now() ?? 0) < seen.expiresAtMs ? seen.value : value
      }
      override putSync(key: Uint8Array, value: Uint8Array, options?: PutOptions): void {
        super.putSync(key, value, options)
        this.#seen.delete(text(key))
        const expiresAtMs = (this.#options.clock?.now() ?? 0) + (options?.ttlMs ?? Infinity)
        if (expiresAtMs < Infinity) this.#seen.set(text(key), { value, expiresAtMs })
      }
    },
  },
  {
    does: 'lets entries live a millisecond longer',
    caughtBy: 'time to live',
    Backend: class extends ModelStateBackend {
      override putSync(key: Uint8Array, value: Uint8Array, options?: PutOptions): void {
        const longer = typeof options?.ttlMs === 'number' && options.ttlMs > 0 && options.ttlMs < 2 ** 40
        super.putSync(key, value, longer ? { ...options, ttlMs: (options?.ttlMs ?? 0) + 1 } : options)
      }
    },
  },
  {
    does: 'lets its own time to live win over Infinity',
    caughtBy: 'time to live',
    Backend: class extends ModelStateBackend {
      override putSync(key: Uint8Array, value: Uint8Array, options?: PutOptions): void {
        super.putSync(key, value, options?.ttlMs === Infinity ? undefined : options)
      }
    },
  },
  {
    does: 'removes nothing unless somebody reads',
    caughtBy: 'time to live',
    Backend: class extends ModelStateBackend {
      constructor(options: ModelStateBackendOptions) {
        super({ ...options, sweepIntervalMs: Infinity })
      }
    },
  },
  {
    does: 'counts contains as a get',
    caughtBy: 'statistics',
    Backend: class extends ModelStateBackend {
      override containsSync(key: Uint8Array): boolean {
        return super.getSync(key) !== undefined
      }
    },
  },
  {
    does: 'counts one put too many after the hundredth',
    caughtBy: 'many tasks at once',
    Backend: class extends ModelStateBackend {
      override stats(): BackendStats {
        const stats = super.stats()
        return stats.puts < 100 ? stats : { ...stats, puts: stats.puts + 1 }
      }
    },
  },
  {
    does: 'leaves the keys out of the bytes written',
    caughtBy: 'statistics',
    Backend: class extends ModelStateBackend {
      #keyBytes = 0
      override putSync(key: Uint8Array, value: Uint8Array, options?: PutOptions): void {
        super.putSync(key, value, options)
        this.#keyBytes += key.length
      }
      override stats(): BackendStats {
        const stats = super.stats()
        return { ...stats, bytesWritten: stats.bytesWritten - this.#keyBytes }
      }
    },
  },
  {
    does: 'forgets to count what expired when it is overwritten',
    caughtBy: 'statistics',
    Backend: class extends ModelStateBackend {
      #forgotten = 0
      override putSync(key: Uint8Array, value: Uint8Array, options?: PutOptions): void {
        const before = super.stats().expired
        super.putSync(key, value, options)
        this.#forgotten += super.stats().expired - before
      }
      override stats(): BackendStats {
        const stats = super.stats()
        return { ...stats, expired: stats.expired - this.#forgotten }
      }
    },
  },
  {
    does: 'cannot be closed twice',
    caughtBy: 'life cycle',
    Backend: class extends ModelStateBackend {
      #closed = false
      override async close(): Promise<void> {
        if (this.#closed) throw new StateError('CLOSED', { component: 'broken' })
        this.#closed = true
        await super.close()
      }
    },
  },
  {
    does: 'finds nothing, without an error, when closed',
    caughtBy: 'life cycle',
    Backend: class extends ModelStateBackend {
      override containsSync(key: Uint8Array): boolean {
        let found = false
        try {
          found = super.containsSync(key)
        } catch (error) {
          if (!isStateError(error, 'CLOSED')) throw error
        }
        return found
      }
    },
  },
  {
    does: 'throws where it should reject',
    caughtBy: 'life cycle',
    Backend: class extends ModelStateBackend {
      override get(key: Uint8Array): Promise<Uint8Array | undefined> {
        return Promise.resolve(super.getSync(key))
      }
    },
  },
  {
    does: 'leaves a timer behind',
    caughtBy: 'life cycle',
    Backend: class extends ModelStateBackend {
      constructor(options: ModelStateBackendOptions) {
        super(options)
        options.clock?.setTimer(() => {}, 10 ** 9)
      }
    },
  },
  {
    does: 'replaces its content entry by entry',
    caughtBy: 'replacing everything',
    Backend: class extends ModelStateBackend {
      override async replaceAll(blocks: AsyncIterable<EntryBlock>): Promise<void> {
        await super.clear()
        for await (const { bytes } of blocks) {
          const cursor = new EntryBlockCursor(bytes)
          while (cursor.next()) super.putSync(cursor.key(), cursor.value())
        }
      }
    },
  },
  {
    does: 'takes damaged blocks without a word',
    caughtBy: 'replacing everything',
    Backend: class extends ModelStateBackend {
      override replaceAll(blocks: AsyncIterable<EntryBlock>, options?: ReplaceOptions): Promise<void> {
        return ignoring('CORRUPTION', () => super.replaceAll(blocks, options))
      }
    },
  },
  {
    does: 'stays behind the time that a restored content has seen',
    caughtBy: 'replacing everything',
    Backend: class extends ModelStateBackend {
      override replaceAll(blocks: AsyncIterable<EntryBlock>): Promise<void> {
        return super.replaceAll(blocks)
      }
    },
  },
  {
    does: 'drops what does not fit without a word',
    caughtBy: 'limits and arguments',
    Backend: class extends ModelStateBackend {
      override put(key: Uint8Array, value: Uint8Array, options?: PutOptions): Promise<void> {
        return ignoring('BACKEND_FULL', () => super.putSync(key, value, options))
      }
    },
  },
  {
    does: 'does not delete when it is full',
    caughtBy: 'limits and arguments',
    Backend: class extends ModelStateBackend {
      #full: unknown
      override putSync(key: Uint8Array, value: Uint8Array, options?: PutOptions): void {
        try {
          super.putSync(key, value, options)
        } catch (error) {
          if (isStateError(error, 'BACKEND_FULL')) this.#full = error
          throw error
        }
      }
      override deleteSync(key: Uint8Array): void {
        if (this.#full !== undefined) throw this.#full
        super.deleteSync(key)
      }
    },
  },
  {
    does: 'never gives space back',
    caughtBy: 'limits and arguments',
    Backend: class extends ModelStateBackend {
      readonly #maxBytes: number
      constructor(options: ModelStateBackendOptions) {
        super(options)
        this.#maxBytes = options.maxBytes ?? Infinity
      }
      override putSync(key: Uint8Array, value: Uint8Array, options?: PutOptions): void {
        const used = this.stats().bytesWritten
        if (used + key.length + value.length <= this.#maxBytes) return super.putSync(key, value, options)
        throw new StateError('BACKEND_FULL', { used, capacity: this.#maxBytes })
      }
    },
  },
  {
    does: 'checks expectations some time before it writes',
    caughtBy: 'many tasks at once',
    Backend: class extends ModelStateBackend {
      override async write(batch: WriteBatch): Promise<void> {
        for (const expectation of split(batch, (kind) => !isWrite(kind))) super.writeSync(expectation)
        const writes = split(batch, isWrite)
        await new Promise((resolve) => setImmediate(resolve))
        for (const write of writes) super.writeSync(write)
      }
    },
  },
  {
    does: 'answers getMany key by key while others write',
    caughtBy: 'many tasks at once',
    Backend: class extends ModelStateBackend {
      override async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
        const values: (Uint8Array | undefined)[] = []
        for (const key of keys) values.push(await this.get(key))
        return values
      }
    },
  },
]

/** Bytes whose unsigned order is the signed order of these. */
function signed(key: Uint8Array): Uint8Array {
  return Uint8Array.from(key, (byte) => byte ^ 0x80)
}

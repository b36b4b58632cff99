import assert from 'node:assert/strict'
import type { EntryBlock } from '../../backend/entry-block.js'
import type { Replaceable, SyncStateBackend } from '../../backend/state-backend.js'
import type {
  ChangeBase,
  SnapshotOptions,
  StateSnapshot,
  SyncStateSnapshot,
} from '../../backend/state-snapshot.js'
import type {
  BackendStats,
  BackendSupport,
  BlockOptions,
  Entry,
  KeyRange,
  PutOptions,
  ReplaceOptions,
  ScanRange,
} from '../../backend/types.js'
import type { WriteBatch } from '../../backend/write-batch.js'
import { isThenable } from '../../base/shapes.js'
import type { TestedBackend } from './case.js'

/**
 * A local engine, used through its faces without promises wherever it has them. The suite runs every case on this
 * as well: what holds for the one face must hold for the other.
 */
export class SyncFaces implements TestedBackend {
  readonly name: string
  readonly supports: BackendSupport
  readonly #backend: SyncStateBackend & Replaceable

  constructor(backend: SyncStateBackend) {
    this.name = backend.name
    this.supports = backend.supports
    // Cases use only what they say that they need.
    this.#backend = backend as SyncStateBackend & Replaceable
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return atOnce(this.#backend.getSync(key))
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return atOnce(this.#backend.getManySync(keys))
  }

  async getOrThrow(key: Uint8Array): Promise<Uint8Array> {
    return atOnce(this.#backend.getOrThrowSync(key))
  }

  async put(key: Uint8Array, value: Uint8Array, options?: PutOptions): Promise<void> {
    return atOnce(this.#backend.putSync(key, value, options))
  }

  async delete(key: Uint8Array): Promise<void> {
    return atOnce(this.#backend.deleteSync(key))
  }

  async contains(key: Uint8Array): Promise<boolean> {
    return atOnce(this.#backend.containsSync(key))
  }

  async write(batch: WriteBatch): Promise<void> {
    return atOnce(this.#backend.writeSync(batch))
  }

  scan(range?: ScanRange): AsyncIterableIterator<Entry> {
    return asyncIterator(this.#backend.scanSync(range))
  }

  listKeys(prefix: Uint8Array): Promise<Uint8Array[]> {
    return this.#backend.listKeys(prefix)
  }

  count(): Promise<number> {
    return this.#backend.count()
  }

  clear(): Promise<void> {
    return this.#backend.clear()
  }

  async deleteRange(range: KeyRange): Promise<void> {
    return atOnce(this.#backend.deleteRangeSync(range))
  }

  /** Without the faces. */
  get backend(): SyncStateBackend {
    return this.#backend
  }

  /** Without the faces. */
  snapshotNow(options?: SnapshotOptions): SyncStateSnapshot {
    return this.#backend.snapshotSync(options)
  }

  async snapshot(options?: SnapshotOptions): Promise<StateSnapshot> {
    return new SyncSnapshotFaces(atOnce(this.#backend.snapshotSync(options)))
  }

  replaceAll(blocks: AsyncIterable<EntryBlock>, options?: ReplaceOptions): Promise<void> {
    return this.#backend.replaceAll(blocks, options)
  }

  flush(): Promise<void> {
    return this.#backend.flush()
  }

  stats(): BackendStats {
    return this.#backend.stats()
  }

  close(): Promise<void> {
    return this.#backend.close()
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#backend[Symbol.asyncDispose]()
  }
}

class SyncSnapshotFaces implements StateSnapshot {
  readonly takenAtMs: number
  readonly base: ChangeBase | undefined
  readonly tellsChanges: boolean
  readonly #snapshot: SyncStateSnapshot

  constructor(snapshot: SyncStateSnapshot) {
    this.takenAtMs = snapshot.takenAtMs
    this.base = snapshot.base
    this.tellsChanges = snapshot.tellsChanges
    this.#snapshot = snapshot
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return atOnce(this.#snapshot.getSync(key))
  }

  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return this.#snapshot.getMany(keys)
  }

  async contains(key: Uint8Array): Promise<boolean> {
    return atOnce(this.#snapshot.containsSync(key))
  }

  scan(range?: ScanRange): AsyncIterableIterator<Entry> {
    return asyncIterator(this.#snapshot.scanSync(range))
  }

  async count(): Promise<number> {
    return atOnce(this.#snapshot.countSync())
  }

  blocks(options?: BlockOptions): AsyncIterableIterator<EntryBlock> {
    return this.#snapshot.blocks(options)
  }

  changes(options?: BlockOptions): AsyncIterableIterator<EntryBlock> {
    return this.#snapshot.changes(options)
  }

  async close(): Promise<void> {
    return atOnce(this.#snapshot.closeSync())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#snapshot[Symbol.dispose]()
  }
}

/** Checks that a synchronous call gives its answer and not the promise of one. */
function atOnce<Result>(result: Result): Result {
  assert.ok(!isThenable(result), 'a synchronous call returned a promise')
  return result
}

function asyncIterator(entries: IterableIterator<Entry>): AsyncIterableIterator<Entry> {
  return {
    next: async () => entries.next(),
    return: async () => entries.return?.() ?? { done: true, value: undefined },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}

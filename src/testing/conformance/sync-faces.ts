import assert from 'node:assert/strict'
import type { EntryBlock } from '../../backend/entry-block.js'
import type {
  StateBackend,
  StateSnapshot,
  SyncStateBackend,
  SyncStateSnapshot,
} from '../../backend/state-backend.js'
import type {
  BackendStats,
  BlockOptions,
  Entry,
  PutOptions,
  ReplaceOptions,
  ScanRange,
} from '../../backend/types.js'
import type { WriteBatch } from '../../backend/write-batch.js'
import { isThenable } from '../../base/shapes.js'

/**
 * A local engine, used through its faces without promises wherever it has them. The suite runs every case on this
 * as well: what holds for the one face must hold for the other.
 */
export class SyncFaces implements StateBackend {
  readonly name: string
  readonly #backend: SyncStateBackend

  constructor(backend: SyncStateBackend) {
    this.name = backend.name
    this.#backend = backend
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return atOnce(this.#backend.getSync(key))
  }

  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return this.#backend.getMany(keys)
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

  /** Without the faces. */
  snapshotNow(): SyncStateSnapshot {
    return this.#backend.snapshotSync()
  }

  async snapshot(): Promise<StateSnapshot> {
    return new SyncSnapshotFaces(atOnce(this.#backend.snapshotSync()))
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
  readonly #snapshot: SyncStateSnapshot

  constructor(snapshot: SyncStateSnapshot) {
    this.takenAtMs = snapshot.takenAtMs
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

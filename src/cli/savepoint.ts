// A savepoint of any entries, written as a coordinator writes one: compressed, read back, verified, and published last.

import type { StateBackend, StateSnapshot } from '../engine.js'
import {
  CheckpointCoordinator,
  type CheckpointMetadata,
  type CheckpointStorage,
  CheckpointWorker,
  type EntryBlock,
  type JsonValue,
  MemoryCheckpointStorage,
  StateError,
} from '../index.js'

export interface SavepointContent {
  /** The engine that the entries come from. */
  readonly backend: string
  /** The time by which it is decided what has expired. */
  readonly clockMs: number
  readonly source: JsonValue | undefined
  /** In key order, without tombstones. Read once. */
  readonly blocks: AsyncIterable<EntryBlock>
  /** What is stored under a key: the coordinator looks for the schema of typed state. */
  get(key: Uint8Array): Promise<Uint8Array | undefined>
}

/** Makes a savepoint. `FENCED` while a coordinator owns the storage. */
export async function makeSavepoint(
  storage: CheckpointStorage,
  content: SavepointContent,
  signal: AbortSignal,
): Promise<CheckpointMetadata> {
  const { source } = content
  // Another thread would take as much memory again.
  const worker = new CheckpointWorker({ thread: false })
  const coordinator = new CheckpointCoordinator(new EntriesOnTheirWay(content) as unknown as StateBackend, {
    // Only savepoints are made, which go elsewhere.
    storage: new MemoryCheckpointStorage(),
    worker,
    ...(source === undefined ? {} : { source: () => source }),
  })
  try {
    return await coordinator.createSavepoint(storage, { signal })
  } finally {
    await coordinator.shutdown()
    await worker.close()
  }
}

/** As much of an engine as a savepoint takes: one snapshot, whose blocks come from elsewhere. */
class EntriesOnTheirWay {
  readonly name: string
  readonly supports: StateBackend['supports'] = Object.freeze({
    sync: false,
    ttl: true,
    orderedScan: 'instant' as const,
    snapshots: true,
    changes: false,
    sharing: false,
    replace: true,
    inPlace: false,
    durable: false,
  })
  readonly #content: SavepointContent

  constructor(content: SavepointContent) {
    this.name = content.backend
    this.#content = content
  }

  async snapshot(): Promise<StateSnapshot> {
    const { clockMs, blocks, get } = this.#content
    const snapshot: Partial<StateSnapshot> = {
      takenAtMs: clockMs,
      base: undefined,
      tellsChanges: false,
      get,
      blocks: () => blocks[Symbol.asyncIterator]() as AsyncIterableIterator<EntryBlock>,
      close: async () => {},
    }
    return snapshot as StateSnapshot
  }

  /** A coordinator wants to be able to ask; for a savepoint it does not. */
  stats(): { readonly entries: number } {
    return { entries: 1 }
  }

  async count(): Promise<number> {
    return 1
  }

  async replaceAll(): Promise<void> {
    throw new StateError('INVALID_ARGUMENT', {
      violations: [{ argument: 'backend', reason: 'is only read' }],
    })
  }
}

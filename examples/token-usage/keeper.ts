// What brings state and source position back after a crash: checkpoints of an engine that forgets, or the store of one
// that does not.

import { CheckpointCoordinator, FileCheckpointStorage, type SyncStateBackend, WriteBatch } from 'holdfast'
import type { LmdbStateBackend } from 'holdfast/lmdb'
import { type LlmRequest, positionFrom, type SourcePosition } from './events.js'
import type { RunResult } from './protocol.js'
import { WindowState, type WindowStore } from './window-state.js'

/** A point to which the job can come back. */
export interface Saved {
  readonly name: string
  readonly events: number
  readonly sizeBytes: number
}

/** Where an earlier process was, and the name under which that was saved. */
export interface Restored {
  readonly name: string
  readonly position: SourcePosition
}

export interface Keeper extends AsyncDisposable {
  readonly windows: WindowState
  /** What an earlier process left; `start` is where the job begins where there is nothing. */
  restore(start: SourcePosition): Promise<Restored | undefined>
  /** Adds requests to their windows and moves the position behind them, in one step. */
  apply(requests: readonly LlmRequest[], end: SourcePosition): void
  save(): Promise<Saved>
  /** Saves for the last time. */
  finish(): Promise<void>
  windowCount(): Promise<number>
  stats(): RunResult['checkpoints']
}

/** Engine in memory, checkpoints on disk: the position is part of each. */
export class CheckpointKeeper implements Keeper {
  readonly windows: WindowState
  readonly #backend: SyncStateBackend
  readonly #coordinator: CheckpointCoordinator
  #position: SourcePosition | undefined

  constructor(backend: SyncStateBackend, directory: string) {
    this.windows = new WindowState(backend)
    this.#backend = backend
    this.#coordinator = new CheckpointCoordinator(backend, {
      storage: new FileCheckpointStorage(directory),
      maxCheckpoints: 3,
      source: () => this.#position ?? null,
    })
  }

  async restore(start: SourcePosition): Promise<Restored | undefined> {
    this.#position = start
    const restored = await this.#coordinator.restoreLatest()
    if (restored === undefined) return undefined
    const position = positionFrom(restored.source)
    this.#position = position
    return { name: restored.id, position }
  }

  apply(requests: readonly LlmRequest[], end: SourcePosition): void {
    for (const request of requests) this.windows.add(request)
    this.#position = end
  }

  async save(): Promise<Saved> {
    const { id, sizeBytes, source } = await this.#coordinator.createCheckpoint()
    return { name: id, events: positionFrom(source).events, sizeBytes }
  }

  async finish(): Promise<void> {
    await this.#coordinator.shutdown()
  }

  windowCount(): Promise<number> {
    return this.#backend.count()
  }

  stats(): RunResult['checkpoints'] {
    const { created, failed, totalDurationMs, lastSizeBytes = 0 } = this.#coordinator.stats()
    return { created, failed, totalDurationMs, lastSizeBytes }
  }

  /** Makes a last checkpoint, also where a broken line ends the job early. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#coordinator[Symbol.asyncDispose]()
    await this.#backend.close()
  }
}

/** Shorter than any key of a window. */
const POSITION_KEY = Buffer.from('position')

/**
 * An engine that persists: the position lies in the store itself and is written in the same batch as the windows, so that
 * what survives a crash always fits together. Saving is a flush.
 */
export class StoreKeeper implements Keeper {
  readonly windows: WindowState
  readonly #backend: LmdbStateBackend
  readonly #batch: BatchedWindows
  #events = 0
  #saves = 0
  #failed = 0
  #totalDurationMs = 0
  #lastSizeBytes = 0

  constructor(backend: LmdbStateBackend) {
    this.#backend = backend
    this.#batch = new BatchedWindows(backend)
    this.windows = new WindowState(this.#batch)
  }

  async restore(): Promise<Restored | undefined> {
    const stored = this.#backend.getSync(POSITION_KEY)
    if (stored === undefined) return undefined
    const position = positionFrom(JSON.parse(Buffer.from(stored).toString()))
    this.#events = position.events
    return { name: 'what the store had flushed', position }
  }

  apply(requests: readonly LlmRequest[], end: SourcePosition): void {
    for (const request of requests) this.windows.add(request)
    this.#batch.commit(Buffer.from(JSON.stringify(end)))
    this.#events = end.events
  }

  async save(): Promise<Saved> {
    const events = this.#events
    const startedAt = performance.now()
    try {
      await this.#backend.flush()
    } catch (error) {
      this.#failed++
      throw error
    }
    this.#totalDurationMs += performance.now() - startedAt
    this.#saves++
    this.#lastSizeBytes = await this.#backend.sizeOnDisk()
    return { name: `flush ${this.#saves}`, events, sizeBytes: this.#lastSizeBytes }
  }

  async finish(): Promise<void> {
    await this.save()
  }

  async windowCount(): Promise<number> {
    return (await this.#backend.count()) - 1
  }

  stats(): RunResult['checkpoints'] {
    return {
      created: this.#saves,
      failed: this.#failed,
      totalDurationMs: this.#totalDurationMs,
      lastSizeBytes: this.#lastSizeBytes,
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#backend.close()
  }
}

/** Collects what one batch of requests changes, and writes it with the position at once. */
class BatchedWindows implements WindowStore {
  readonly #backend: SyncStateBackend
  readonly #changed = new Map<string, Uint8Array>()

  constructor(backend: SyncStateBackend) {
    this.#backend = backend
  }

  getSync(key: Uint8Array): Uint8Array | undefined {
    return this.#changed.get(nameOf(key)) ?? this.#backend.getSync(key)
  }

  putSync(key: Uint8Array, value: Uint8Array): void {
    this.#changed.set(nameOf(key), new Uint8Array(value))
  }

  *scanSync(): IterableIterator<[Uint8Array, Uint8Array]> {
    for (const entry of this.#backend.scanSync()) if (entry[0].length > POSITION_KEY.length) yield entry
  }

  commit(position: Uint8Array): void {
    const batch = new WriteBatch().put(POSITION_KEY, position)
    for (const [name, value] of this.#changed) batch.put(Buffer.from(name, 'latin1'), value)
    this.#backend.writeSync(batch)
    this.#changed.clear()
  }
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')
}

// What brings state and source position back after a crash: checkpoints of an engine that forgets, or the store of one
// that does not.

import { CheckpointCoordinator, FileCheckpointStorage, type SyncStateBackend } from 'holdfast'
import type { LmdbStateBackend } from 'holdfast/lmdb'
import { type LlmRequest, positionFrom, type SourcePosition } from './events.js'
import type { RunResult } from './protocol.js'
import { add, everything, openWindows, type WindowStore, windowCount } from './windows.js'

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
  /** The state, once it is restored. */
  readonly windows: WindowStore
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
  readonly #backend: SyncStateBackend
  readonly #coordinator: CheckpointCoordinator
  #windows: WindowStore | undefined
  #position: SourcePosition | undefined

  constructor(backend: SyncStateBackend, directory: string) {
    this.#backend = backend
    this.#coordinator = new CheckpointCoordinator(backend, {
      storage: new FileCheckpointStorage(directory),
      maxCheckpoints: 3,
      source: () => this.#position ?? null,
    })
  }

  get windows(): WindowStore {
    return opened(this.#windows)
  }

  async restore(start: SourcePosition): Promise<Restored | undefined> {
    this.#position = start
    const restored = await this.#coordinator.restoreLatest()
    this.#windows = await openWindows(this.#backend)
    if (restored === undefined) return undefined
    const position = positionFrom(restored.source)
    this.#position = position
    return { name: restored.id, position }
  }

  apply(requests: readonly LlmRequest[], end: SourcePosition): void {
    for (const request of requests) add(this.windows, request)
    this.#position = end
  }

  async save(): Promise<Saved> {
    const { id, sizeBytes, source } = await this.#coordinator.createCheckpoint()
    return { name: id, events: positionFrom(source).events, sizeBytes }
  }

  async finish(): Promise<void> {
    await this.#coordinator.shutdown()
  }

  async windowCount(): Promise<number> {
    return windowCount(this.windows)
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

/**
 * An engine that persists: the position lies in the store itself and is written in the same batch as the windows, so that
 * what survives a crash always fits together. Saving is a flush.
 */
export class StoreKeeper implements Keeper {
  readonly #backend: LmdbStateBackend
  #windows: WindowStore | undefined
  #events = 0
  #saves = 0
  #failed = 0
  #totalDurationMs = 0
  #lastSizeBytes = 0

  constructor(backend: LmdbStateBackend) {
    this.#backend = backend
  }

  get windows(): WindowStore {
    return opened(this.#windows)
  }

  async restore(): Promise<Restored | undefined> {
    this.#windows = await openWindows(this.#backend)
    const stored = this.windows.position.get(everything)
    if (stored === undefined) return undefined
    const position = positionFrom(stored)
    this.#events = position.events
    return { name: 'what the store had flushed', position }
  }

  apply(requests: readonly LlmRequest[], end: SourcePosition): void {
    const { windows } = this
    windows.batch(() => {
      for (const request of requests) add(windows, request)
      windows.position.put(everything, end)
    })
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
    return windowCount(this.windows)
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

function opened(store: WindowStore | undefined): WindowStore {
  if (store === undefined) throw new Error('the state is used before it is restored')
  return store
}

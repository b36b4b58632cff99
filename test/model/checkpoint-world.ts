// What should be true of a coordinator and its storage, and what is: the two sides of checkpoint-model.test.ts.

import { setImmediate as nextTurn } from 'node:timers/promises'
import type { StateBackend } from '../../src/backend/state-backend.js'
import { CheckpointCoordinator } from '../../src/checkpoint/coordinator/checkpoint-coordinator.js'
import type { Compression } from '../../src/checkpoint/types.js'
import { CheckpointWorker } from '../../src/checkpoint/worker/checkpoint-worker.js'
import { MemoryCheckpointStorage } from '../../src/storage/memory-checkpoint-storage.js'
import { FaultyCheckpointStorage } from '../../src/testing/faulty-storage.js'
import { ManualClock } from '../../src/testing/manual-clock.js'

const MAX_CHECKPOINTS = 3

export interface ModelEntry {
  readonly value: string
  readonly expiresAtMs: number
}

export type State = ReadonlyMap<string, ModelEntry>

export interface SavedState {
  readonly state: State
  readonly position: number
  readonly savepoint: boolean
  /** Names of the segments that its manifest lists. */
  readonly segments: readonly string[]
  manifestDamaged?: boolean
  /** A restore or `verify` of this process met the damage. */
  discovered?: boolean
}

/** What should be true. */
export class Model {
  state: Map<string, ModelEntry> = new Map()
  position = 0
  readonly saved = new Map<number, SavedState>()
  lastId = 0
  everPublished = false
  readonly damagedSegments = new Set<string>()
  readonly missingSegments = new Set<string>()

  isDamaged({ manifestDamaged, segments }: SavedState): boolean {
    const lost = segments.some((name) => this.damagedSegments.has(name) || this.missingSegments.has(name))
    return manifestDamaged === true || lost
  }

  /** Whether retention can know that it is damaged. */
  isKnownDamaged({ manifestDamaged, discovered, segments }: SavedState): boolean {
    const missing = segments.some((name) => this.missingSegments.has(name))
    return manifestDamaged === true || discovered === true || missing
  }

  /** A savepoint is known by its manifest or by its segment's name. Without both, nothing of it is left to spare. */
  isSpared({ savepoint, manifestDamaged, segments }: SavedState): boolean {
    return savepoint && !(manifestDamaged === true && this.missingSegments.has(segments[0] ?? ''))
  }

  newestFirst(): [number, SavedState][] {
    return [...this.saved].sort(([left], [right]) => right - left)
  }

  /** What retention has to remove: all that is older than the newest few that are good, as far as it can know. */
  surplus(): number[] {
    const plain = this.newestFirst().filter(([, { savepoint }]) => !savepoint)
    const good = plain.filter(([, saved]) => !this.isKnownDamaged(saved))
    return olderThan(plain, good)
  }

  /**
   * What retention may remove: it lists the storage now and then only, so what was damaged by hand may still be good to it.
   * Never more than that, and never one of the newest few.
   */
  dispensable(): number[] {
    const plain = this.newestFirst().filter(([, saved]) => !this.isSpared(saved))
    return olderThan(plain, plain)
  }
}

/** Those that are older than the newest few of the good ones. */
function olderThan(plain: readonly [number, SavedState][], good: readonly [number, SavedState][]): number[] {
  const oldestKept = good[MAX_CHECKPOINTS - 1]?.[0] ?? 0
  return plain.map(([sequence]) => sequence).filter((sequence) => sequence < oldestKept)
}

export type BackendMaker = (clock: ManualClock) => StateBackend | Promise<StateBackend>

/** What is. */
export class World {
  readonly clock = new ManualClock()
  readonly storage = new MemoryCheckpointStorage()
  readonly #makeBackend: BackendMaker
  readonly #compression: Compression
  readonly #graceMs: number
  faulty!: FaultyCheckpointStorage
  backend!: StateBackend
  coordinator!: CheckpointCoordinator
  position = 0
  /** The coordinator owns the storage, so the cut of a checkpoint is made in the very call. */
  owner = false
  /** So often the coordinator said that it takes the state once more. */
  retaken = 0

  private constructor(makeBackend: BackendMaker, compression: Compression, graceMs: number) {
    this.#makeBackend = makeBackend
    this.#graceMs = graceMs
    this.#compression = compression
  }

  static async create(makeBackend: BackendMaker, compression: Compression, graceMs: number): Promise<World> {
    const world = new World(makeBackend, compression, graceMs)
    await world.boot()
    return world
  }

  /** A new process on the same storage. */
  async boot(): Promise<void> {
    this.storage.forgetOwner()
    this.faulty = new FaultyCheckpointStorage(this.storage)
    this.backend = await this.#makeBackend(this.clock)
    this.position = 0
    this.owner = false
    const note = (_: object, message: string) => {
      if (message === 'the checkpoint takes the state once more') this.retaken++
    }
    this.coordinator = new CheckpointCoordinator(this.backend, {
      storage: this.faulty,
      clock: this.clock,
      compression: this.#compression,
      maxCheckpoints: MAX_CHECKPOINTS,
      graceMs: this.#graceMs,
      maxDeltas: 2,
      worker,
      logger: { debug: () => {}, info: note, warn: note, error: () => {} },
      source: () => ({ position: this.position }),
    })
    this.coordinator.on('completed', ({ checkpoint }) => seen.add(checkpoint.kind))
    this.coordinator.on('merged', () => seen.add('merged'))
    this.coordinator.on('mergeFailed', () => seen.add('mergeFailed'))
  }

  async mergeEnds(): Promise<void> {
    while (this.coordinator.stats().merging) await nextTurn()
  }
}

/** What has happened at least once: a history without it proves nothing. */
export const seen: Set<string> = new Set<string>()

export const worker: CheckpointWorker = new CheckpointWorker()

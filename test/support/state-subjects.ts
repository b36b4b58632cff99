import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { isSyncBackend, type StateBackend } from '../../src/backend/state-backend.js'
import { CheckpointCoordinator } from '../../src/checkpoint/coordinator/checkpoint-coordinator.js'
import type { CheckpointId } from '../../src/checkpoint/types.js'
import { CheckpointWorker } from '../../src/checkpoint/worker/checkpoint-worker.js'
import { LmdbStateBackend } from '../../src/lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { FileCheckpointStorage } from '../../src/storage/file-checkpoint-storage.js'
import { ManualClock } from '../../src/testing/manual-clock.js'
import { asynchronousBackend } from './asynchronous-backend.js'
import { modelRuns } from './long.js'
import { onRandomRuns } from './random-runs.js'

/** The backend that a model of typed state runs on. */
export interface StateSubject {
  backend: StateBackend
  /** Another backend with the same content, as after a restore; `undefined` where there is no such way. */
  readonly restored: (() => Promise<StateBackend>) | undefined
  /** Publishes a checkpoint as files; absent where a model does without. */
  readonly checkpoint?: () => Promise<void>
  /** What a process finds that comes after this one was killed: another backend with the latest checkpoint, `undefined` without one. */
  readonly recovered?: () => Promise<StateBackend | undefined>
  readonly end?: () => Promise<void>
}

/** All subjects' checkpoints are made in one thread. */
const worker = new CheckpointWorker()

/** More than a run makes: the one that it goes back to is never dropped. */
const MAX_CHECKPOINTS = 200

function memorySubject(clock: ManualClock, directory: string): StateSubject {
  let coordinator: CheckpointCoordinator | undefined
  const coordinated = (backend: MemoryStateBackend) => {
    const storage = new FileCheckpointStorage(directory)
    coordinator = new CheckpointCoordinator(backend, { storage, worker, maxCheckpoints: MAX_CHECKPOINTS })
    return coordinator
  }
  const end = async () => {
    await coordinator?.shutdown()
    coordinator = undefined
  }
  let published: CheckpointId | undefined
  const subject = {
    backend: new MemoryStateBackend({ clock }),
    restored: async () => {
      await end()
      const copy = new MemoryStateBackend({ clock })
      await using snapshot = await subject.backend.snapshot()
      await copy.replaceAll(snapshot.blocks())
      return copy
    },
    checkpoint: async () => {
      const { id } = await (coordinator ?? coordinated(subject.backend)).createCheckpoint()
      published = id
    },
    recovered: async () => {
      if (published === undefined) return undefined
      // A shutdown takes a last checkpoint, which a process that is killed does not: so not the latest one is restored.
      await end()
      const backend = new MemoryStateBackend({ clock })
      await coordinated(backend).restore(published)
      return backend
    },
    end,
  }
  return subject
}

/** How often a model runs, in a long run and in a quick one. */
export type RunCounts = readonly [long: number, quick: number]

const LIMIT_MS = 300_000

/** Defines a test for each engine in which commands are run on it and compared with a model. */
export function onEveryEngine<Step>(
  step: fc.Arbitrary<Step>,
  run: (subject: StateSubject, steps: readonly Step[], clock: ManualClock) => Promise<void>,
  counts: { readonly memory: RunCounts; readonly asynchronous: RunCounts; readonly lmdb: RunCounts },
): void {
  const check = (make: (clock: ManualClock) => Promise<StateSubject>, [long, quick]: RunCounts) =>
    onRandomRuns(
      fc.asyncProperty(fc.array(step, { maxLength: 40, size: 'max' }), async (steps) => {
        const clock = new ManualClock(1_000_000)
        const subject = await make(clock)
        try {
          await run(subject, steps, clock)
        } finally {
          await subject.end?.()
          await subject.backend.close()
        }
      }),
      { runs: modelRuns(long, quick) },
    )

  it(
    'on the memory engine, restored from its snapshots and from checkpoints in files',
    async () => {
      const directory = mkdtempSync(join(tmpdir(), 'holdfast-state-'))
      let subjects = 0
      const make = async (clock: ManualClock) => memorySubject(clock, join(directory, String(subjects++)))
      try {
        await expect(check(make, counts.memory)).resolves.toBeUndefined()
      } finally {
        rmSync(directory, { recursive: true, force: true })
      }
    },
    LIMIT_MS,
  )

  it(
    'over an engine that only answers later',
    async () => {
      const make = async (clock: ManualClock) => {
        const { backend } = asynchronousBackend({ clock })
        expect(isSyncBackend(backend)).toBe(false)
        return { backend, restored: undefined }
      }
      await expect(check(make, counts.asynchronous)).resolves.toBeUndefined()
    },
    LIMIT_MS,
  )

  it(
    'on the persistent engine, closed and opened again',
    async () => {
      const directory = mkdtempSync(join(tmpdir(), 'holdfast-state-'))
      let stores = 0
      const make = async (clock: ManualClock) => {
        const path = join(directory, String(stores++))
        const subject: { backend: LmdbStateBackend; restored: () => Promise<StateBackend> } = {
          backend: await LmdbStateBackend.open({ path, clock }),
          restored: async () => {
            await subject.backend.close()
            return LmdbStateBackend.open({ path, clock })
          },
        }
        return subject
      }
      try {
        await expect(check(make, counts.lmdb)).resolves.toBeUndefined()
      } finally {
        rmSync(directory, { recursive: true, force: true })
      }
    },
    LIMIT_MS,
  )
}

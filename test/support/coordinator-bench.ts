import { setImmediate as nextTurn } from 'node:timers/promises'
import { onTestFinished } from 'vitest'
import type { StateBackend } from '../../src/backend/state-backend.js'
import { CheckpointCoordinator } from '../../src/checkpoint/coordinator/checkpoint-coordinator.js'
import type { CheckpointCoordinatorOptions } from '../../src/checkpoint/coordinator/coordinator-options.js'
import type { Logger } from '../../src/checkpoint/types.js'
import { CheckpointWorker } from '../../src/checkpoint/worker/checkpoint-worker.js'
import { MemoryCheckpointStorage } from '../../src/storage/memory-checkpoint-storage.js'
import { ManualClock } from '../../src/testing/manual-clock.js'
import { ModelStateBackend } from '../../src/testing/model-state-backend.js'
import { bytesOf, textOf } from './checkpoints.js'

/** A coordinator with everything around it; what it does is told in `events` and `log`. */
export interface Bench {
  readonly clock: ManualClock
  readonly storage: MemoryCheckpointStorage
  readonly backend: ModelStateBackend
  readonly coordinator: CheckpointCoordinator
  readonly events: string[]
  readonly log: string[]
}

/** Shuts a coordinator down when the test that calls this is over. */
export function shutDownAfterTest(coordinator: CheckpointCoordinator): void {
  onTestFinished(async () => await coordinator.shutdown().catch(() => {}))
}

/**
 * One thread for all coordinators of a process: one of its own would cost each of them a start. Test files share the process, so
 * it is not closed; it keeps nothing alive.
 */
export const worker: CheckpointWorker = new CheckpointWorker()

function loggerInto(log: string[]): Logger {
  const at = (level: string) => (_: object, message: string) => void log.push(`${level}: ${message}`)
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

export function bench(
  options: Partial<CheckpointCoordinatorOptions> = {},
  storage: MemoryCheckpointStorage = new MemoryCheckpointStorage(),
): Bench {
  const clock = new ManualClock(1_700_000_000_000)
  const backend = new ModelStateBackend({ clock })
  const log: string[] = []
  const coordinator = new CheckpointCoordinator(backend, {
    storage,
    clock,
    logger: loggerInto(log),
    // Tests of what is common to all checkpoints name their segments; what is incremental has tests of its own.
    incremental: false,
    worker,
    ...options,
  })
  const events: string[] = []
  const tell = (text: string) => void events.push(text)
  coordinator.on('started', ({ id }) => tell(`started ${id}`))
  coordinator.on('completed', ({ checkpoint }) => tell(`completed ${checkpoint.id}`))
  coordinator.on('failed', ({ id, error }) => tell(`failed ${id} ${error.code}`))
  coordinator.on('restored', ({ checkpoint }) => tell(`restored ${checkpoint.id}`))
  coordinator.on('skipped', ({ id, code }) => tell(`skipped ${id} ${code}`))
  coordinator.on('deleted', ({ id }) => tell(`deleted ${id}`))
  shutDownAfterTest(coordinator)
  return { clock, storage, backend, coordinator, events, log }
}

export async function put(backend: StateBackend, text: string): Promise<void> {
  for (const pair of text.split(' ')) {
    const [key = '', value = ''] = pair.split('=')
    await backend.put(bytesOf(key), bytesOf(value))
  }
}

/** Resolves when no checkpoint is being made: the worker's time is not the clock's. */
export async function idle(coordinator: CheckpointCoordinator): Promise<void> {
  do await nextTurn()
  while (coordinator.stats().running)
  await nextTurn()
}

/** All entries as `key=value`, in order. */
export async function contentOf(backend: StateBackend): Promise<string> {
  const pairs: string[] = []
  for await (const [key, value] of backend.scan()) pairs.push(`${textOf(key)}=${textOf(value)}`)
  return pairs.join(' ')
}

/** A process that died: its lease is free, its coordinator forgotten. */
export function crash(storage: MemoryCheckpointStorage): void {
  storage.forgetOwner()
}

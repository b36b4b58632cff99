import { setImmediate as nextTurn } from 'node:timers/promises'
import type { StateBackend } from '../../src/backend/state-backend.js'
import type { CheckpointCoordinator } from '../../src/checkpoint/coordinator/checkpoint-coordinator.js'
import type { CheckpointCoordinatorOptions } from '../../src/checkpoint/coordinator/coordinator-options.js'
import { parseManifest } from '../../src/checkpoint/format/manifest.js'
import { manifestName, segmentName } from '../../src/checkpoint/format/object-names.js'
import type { MemoryCheckpointStorage } from '../../src/storage/memory-checkpoint-storage.js'
import { bytesIn, bytesOf } from './checkpoints.js'
import { type Bench, bench as benchOf } from './coordinator-bench.js'

export function bench(
  options: Partial<CheckpointCoordinatorOptions> = {},
  storage?: MemoryCheckpointStorage,
): Bench {
  return benchOf({ incremental: true, ...options }, storage)
}

/** A state that is larger than what a test changes of it. */
export async function fill(backend: StateBackend): Promise<void> {
  for (let i = 0; i < 50; i++) await backend.put(bytesOf(`fill-${i}`), bytesOf(`something ${i * i}`))
}

export async function segmentsOf(storage: MemoryCheckpointStorage, sequence: number): Promise<string[]> {
  const { manifest } = parseManifest(await bytesIn(storage, manifestName(sequence)), sequence)
  return manifest.segments.map(({ name }) => name)
}

export async function merged(coordinator: CheckpointCoordinator): Promise<void> {
  while (coordinator.stats().merging) await nextTurn()
}

export const base = (sequence: number): string => segmentName(sequence, 'base')
export const delta = (sequence: number): string => segmentName(sequence, 'delta')

// A coordinator with a mirror, of which a test waits for what the mirror tells.

import { setImmediate as nextTurn } from 'node:timers/promises'
import type { CheckpointCoordinatorOptions } from '../../src/checkpoint/coordinator/coordinator-options.js'
import type { MemoryCheckpointStorage } from '../../src/storage/memory-checkpoint-storage.js'
import { FaultyCheckpointStorage } from '../../src/testing/faulty-storage.js'
import { type Bench, bench, contentOf } from './coordinator-bench.js'

export interface Mirrored extends Bench {
  /** Resolves with the next thing that the mirror tells: `mirrored ID` or `failed ID CODE`. */
  next(): Promise<string>
}

export function withMirror(
  mirror: CheckpointCoordinatorOptions['mirror'] & object,
  options: Partial<CheckpointCoordinatorOptions> = {},
  storage?: MemoryCheckpointStorage,
): Mirrored {
  const made = bench({ incremental: true, mirror, ...options }, storage)
  const told: string[] = []
  const waiting: ((text: string) => void)[] = []
  const tell = (text: string) => {
    const first = waiting.shift()
    if (first === undefined) told.push(text)
    else first(text)
  }
  made.coordinator.on('mirrored', ({ checkpoint }) => tell(`mirrored ${checkpoint.id}`))
  made.coordinator.on('mirrorFailed', ({ id, error }) => tell(`failed ${id} ${error.code}`))
  const next = async () =>
    told.shift() ?? (await new Promise<string>((resolve) => waiting.push((text) => resolve(text))))
  return { ...made, next }
}

export const CHK = (sequence: number) => `chk-${String(sequence).padStart(10, '0')}`

/** Lets what waits for answers of memory alone come to rest. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await nextTurn()
}

/** A storage whose calls of one operation hang until it is told. */
export function hanging(inner: MemoryCheckpointStorage, operation: 'acquire' | 'list' | 'open') {
  let release: () => void = () => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  const storage = new FaultyCheckpointStorage(inner)
  const original = storage[operation].bind(storage) as (...args: unknown[]) => Promise<unknown>
  Object.assign(storage, {
    [operation]: async (...args: unknown[]) => {
      await released
      return await original(...args)
    },
  })
  return { storage, release }
}

export async function restoredFrom(storage: MemoryCheckpointStorage): Promise<string> {
  const { coordinator, backend } = bench({}, storage)
  await coordinator.restoreLatest()
  return await contentOf(backend)
}

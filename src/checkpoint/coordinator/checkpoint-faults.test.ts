import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { bytesIn, bytesOf, namesIn, sequenceIn, textOf } from '../../../test/support/checkpoints.js'
import { runs } from '../../../test/support/long.js'
import { isStateError } from '../../base/errors.js'
import { CODEC_NAMES, isCodecAvailable } from '../../codec/block-codec.js'
import type { CheckpointStorage } from '../../storage/checkpoint-storage.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { FaultyCheckpointStorage } from '../../testing/faulty-storage.js'
import { ModelStateBackend } from '../../testing/model-state-backend.js'
import type { StorageEffect } from '../../testing/storage-faults.js'
import { parseManifest } from '../format/manifest.js'
import type { CheckpointMetadata } from '../types.js'
import { CheckpointWorker } from '../worker/checkpoint-worker.js'
import { CheckpointCoordinator } from './checkpoint-coordinator.js'

/** In a quick run some of the damages only, of each kind: there are three flips of a byte, and a cut at each. */
const STRIDE = runs(1, 31)
const open: CheckpointCoordinator[] = []
const worker = new CheckpointWorker()

afterAll(() => worker.close())

afterEach(async () => {
  for (const each of open.splice(0)) await each.shutdown().catch(() => {})
})

function coordinatorOn(storage: CheckpointStorage, backend = new ModelStateBackend()) {
  const coordinator = new CheckpointCoordinator(backend, {
    storage,
    maxCheckpoints: 2,
    graceMs: 0,
    compression: 'none',
    worker,
  })
  open.push(coordinator)
  return { coordinator, backend }
}

/** What a fresh process would find; `undefined`: nothing was ever saved. */
async function restoredFrom(storage: MemoryCheckpointStorage): Promise<string | undefined> {
  const { coordinator, backend } = coordinatorOn(storage)
  const restored = await coordinator.restoreLatest()
  return restored === undefined ? undefined : textOf(backend.getSync(bytesOf('a')))
}

interface Prepared {
  readonly storage: MemoryCheckpointStorage
  readonly faulty: FaultyCheckpointStorage
  readonly coordinator: CheckpointCoordinator
  readonly backend: ModelStateBackend
}

/** A storage with checkpoints of the values 1 to 3 (one is due for retention at the next), and its owner. */
async function prepared(): Promise<Prepared> {
  const storage = new MemoryCheckpointStorage()
  const faulty = new FaultyCheckpointStorage(storage)
  const { coordinator, backend } = coordinatorOn(faulty)
  for (const value of ['1', '2', '3']) {
    backend.putSync(bytesOf('a'), bytesOf(value))
    await coordinator.createCheckpoint()
  }
  backend.putSync(bytesOf('a'), bytesOf('4'))
  return { storage, faulty, coordinator, backend }
}

/** Calls `round` with a fault at the first call, then with one at the second, until there is no such call any more. */
async function atEveryCall(
  effect: StorageEffect,
  round: (prepared: Prepared, describeCall: () => string) => Promise<void>,
): Promise<number> {
  for (let nth = 1; ; nth++) {
    const parts = await prepared()
    const before = parts.faulty.count()
    parts.faulty.inject({ ...effect, nth })
    let struck = 0
    const carriers = ['writer.write', 'replace', 'read', 'reader.read']
    const counts = effect.effect === 'flip' || effect.effect === 'cut' ? carriers : undefined
    await round(parts, () => {
      const calls = parts.faulty.calls.slice(before)
      const matching = calls.filter(({ operation }) => counts?.includes(operation) ?? true)
      struck = matching.length
      const call = matching[nth - 1]
      return `${effect.effect} at ${call?.operation} ${call?.object ?? ''}`
    })
    if (struck < nth) return nth - 1
  }
}

async function attempt(coordinator: CheckpointCoordinator): Promise<CheckpointMetadata | undefined> {
  try {
    return await coordinator.createCheckpoint()
  } catch (error) {
    expect(isStateError(error, 'CHECKPOINT_FAILED'), String(error)).toBe(true)
    return undefined
  }
}

async function manifestsIn(storage: MemoryCheckpointStorage): Promise<string[]> {
  return (await namesIn(storage)).filter((name) => name.endsWith('.manifest'))
}

/** The manifests that there are, every segment they name, and the sequence. */
async function namesNeeded(storage: MemoryCheckpointStorage): Promise<string[]> {
  const manifests = await manifestsIn(storage)
  const segments = new Set<string>()
  for (const name of manifests) {
    const { manifest } = parseManifest(await bytesIn(storage, name), sequenceIn(name.slice(0, 14)))
    for (const segment of manifest.segments) segments.add(segment.name)
  }
  return [...manifests, ...segments, 'sequence'].sort()
}

const once: StorageEffect[] = [
  { effect: 'fail' },
  { effect: 'fail', when: 'after' },
  { effect: 'flip' },
  { effect: 'flip', offset: 0 },
  { effect: 'cut' },
  { effect: 'cut', keepBytes: 0 },
]

const forEver: StorageEffect[] = [
  { effect: 'crash' },
  { effect: 'crash', when: 'after' },
  { effect: 'cut', thenCrash: true },
]

describe('a fault of the storage during a checkpoint', () => {
  it.each(once)('once, %o: nothing of a failed one is visible, and the next one works', async (effect) => {
    let failures = 0
    const calls = await atEveryCall(effect, async ({ storage, faulty, coordinator, backend }, call) => {
      const before = await manifestsIn(storage)
      const started: number[] = [3]
      coordinator.on('started', ({ id }) => started.push(sequenceIn(id)))
      const made = await attempt(coordinator)
      const what = call()
      faulty.heal()
      expect(backend.stats().openSnapshots, what).toBe(0)
      if (made === undefined) {
        failures++
        expect(await manifestsIn(storage), what).toEqual(before)
      }
      expect(await restoredFrom(storage), what).toBe(made === undefined ? '3' : '4')
      backend.putSync(bytesOf('a'), bytesOf('5'))
      const last = Math.max(...started)
      expect((await coordinator.createCheckpoint()).sequence, what).toBeGreaterThan(last)
      expect(await restoredFrom(storage), what).toBe('5')
      expect((await coordinator.listCheckpoints()).length, what).toBe(2)
    })
    expect(calls).toBeGreaterThan(5)
    expect(failures).toBeGreaterThan(3)
  })

  it.each(forEver)('%o: the next process finds the old state or the new one', async (effect) => {
    const found = new Set<string>()
    await atEveryCall(effect, async ({ storage, coordinator }, call) => {
      const made = await attempt(coordinator)
      const what = call()
      storage.forgetOwner()
      const value = await restoredFrom(storage)
      expect(['3', '4'], what).toContain(value)
      if (made !== undefined) expect(value, what).toBe('4')
      found.add(value ?? '')
      const numbers = (await namesIn(storage)).map((name) => sequenceIn(name.slice(0, 14)) || 0)
      const { coordinator: next, backend } = coordinatorOn(storage)
      backend.putSync(bytesOf('a'), bytesOf('5'))
      expect((await next.createCheckpoint()).sequence, what).toBeGreaterThan(Math.max(...numbers))
      expect(await restoredFrom(storage), what).toBe('5')
      // Without a grace period, the sweep leaves exactly what is kept: two checkpoints, their segments, and the sequence.
      expect(await namesIn(storage), what).toEqual(await namesNeeded(storage))
      expect(await manifestsIn(storage), what).toHaveLength(2)
    })
    expect(found.has('3')).toBe(true)
  })

  it('during the very first one: a fresh process starts empty, or with it, never with an error', async () => {
    for (let nth = 1; ; nth++) {
      const storage = new MemoryCheckpointStorage()
      const faulty = new FaultyCheckpointStorage(storage).inject({ effect: 'crash', nth })
      const { coordinator, backend } = coordinatorOn(faulty)
      backend.putSync(bytesOf('a'), bytesOf('1'))
      await coordinator.createCheckpoint().catch(() => {})
      if (!faulty.crashed) break
      storage.forgetOwner()
      expect([undefined, '1'], String(faulty.calls[nth - 1]?.operation)).toContain(
        await restoredFrom(storage),
      )
    }
  })
})

describe('a fault of the storage during a restore', () => {
  it.each(once)(
    'once, %o: it falls back or fails, and never comes back with less and no word',
    async (effect) => {
      await atEveryCall(effect, async ({ storage, faulty }, call) => {
        const backend = new ModelStateBackend()
        backend.putSync(bytesOf('a'), bytesOf('before'))
        const { coordinator } = coordinatorOn(faulty, backend)
        const skipped: string[] = []
        coordinator.on('skipped', ({ id }) => skipped.push(id))
        const outcome = await coordinator.restoreLatest().catch((error: unknown) => error)
        const what = call()
        faulty.heal()
        storage.forgetOwner()
        const value = textOf(backend.getSync(bytesOf('a')))
        if (isStateError(outcome)) {
          expect(outcome.code, what).toBe('RESTORE_FAILED')
          expect(value, what).toBe('before')
        } else {
          const { sequence } = outcome as CheckpointMetadata
          expect(value, what).toBe(String(sequence))
          expect(skipped.length, what).toBe(3 - sequence)
        }
      })
    },
  )

  it.each(forEver)(
    '%o: RESTORE_FAILED, not an empty state, unless it was too late to matter',
    async (effect) => {
      await atEveryCall(effect, async ({ storage, faulty }, call) => {
        const { coordinator, backend } = coordinatorOn(faulty)
        const outcome = await coordinator.restoreLatest().catch((error: unknown) => error)
        const what = call()
        faulty.heal()
        storage.forgetOwner()
        if (isStateError(outcome)) expect(outcome.code, what).toBe('RESTORE_FAILED')
        else expect(textOf(backend.getSync(bytesOf('a'))), what).toBe('3')
      })
    },
  )
})

describe('bit rot', () => {
  const codecs = CODEC_NAMES.filter(isCodecAvailable)

  it.each(codecs)(
    'with %s: every byte of every file, flipped or cut off, is detected or harmless',
    async (compression) => {
      const storage = new MemoryCheckpointStorage()
      const saved = new ModelStateBackend()
      saved.putSync(bytesOf('a'), bytesOf('one'))
      saved.putSync(bytesOf('b'), bytesOf('two'), { ttlMs: 1e9 })
      const maker = new CheckpointCoordinator(saved, {
        storage,
        compression,
        worker,
        source: () => ({ offset: 12 }),
      })
      open.push(maker)
      await maker.createCheckpoint()
      const expected = await contentOf(saved)
      const target = new ModelStateBackend()
      const reader = new CheckpointCoordinator(target, { storage, worker })
      open.push(reader)
      for (const name of await namesIn(storage)) {
        const intact = await bytesIn(storage, name)
        const damages = [
          ...flips(intact),
          ...Array.from({ length: intact.length }, (_, length) => intact.slice(0, length)),
        ]
        for (const [index, damaged] of damages.entries()) {
          // Which bytes a codec has packed is behind the same checks: a quick run looks at all places with one of them.
          if (index % (compression === 'none' ? STRIDE : runs(STRIDE, 4 * STRIDE)) !== 0) continue
          storage.tamper(name, damaged)
          await target.clear()
          const outcome = await reader.restoreLatest().catch((error: unknown) => error)
          if (isStateError(outcome)) {
            expect(outcome.code, `${name} #${index}`).toBe('RESTORE_FAILED')
            expect(await target.count(), `${name} #${index}`).toBe(0)
          } else {
            expect(await contentOf(target), `${name} #${index}`).toEqual(expected)
            expect(outcome, `${name} #${index}`).toMatchObject({ source: { offset: 12 } })
            // Only the sequence is not needed to restore.
            expect(name).toBe('sequence')
          }
        }
        storage.tamper(name, intact)
      }
      await target.clear()
      expect(await reader.restoreLatest()).toBeDefined()
    },
  )
})

function flips(bytes: Uint8Array): Uint8Array[] {
  return Array.from(bytes).flatMap((byte, position) =>
    [0x01, 0x40, 0xff].map((pattern) => {
      const flipped = bytes.slice()
      flipped[position] = byte ^ pattern
      return flipped
    }),
  )
}

async function contentOf(backend: ModelStateBackend): Promise<string[]> {
  const pairs: string[] = []
  for await (const [key, value] of backend.scan()) pairs.push(`${textOf(key)}=${textOf(value)}`)
  return pairs
}

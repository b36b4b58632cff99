import { readFileSync } from 'node:fs'
import { describe, expect, it, vi } from 'vitest'
import { bytesIn, bytesOf, namesIn, patchLeases } from '../../../test/support/checkpoints.js'
import { bench, contentOf, idle, put } from '../../../test/support/coordinator-bench.js'
import type { StateBackend } from '../../backend/state-backend.js'
import { isStateError } from '../../base/errors.js'
import type { JsonValue } from '../../base/json.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { ModelStateBackend } from '../../testing/model-state-backend.js'
import { HOLDFAST_VERSION } from '../format/holdfast-version.js'
import type { CheckpointEvents } from '../types.js'
import { CheckpointCoordinator } from './checkpoint-coordinator.js'
import type { CheckpointCoordinatorOptions } from './coordinator-options.js'

describe('making a checkpoint', () => {
  it('publishes a segment and a manifest, and tells about it', async () => {
    const { coordinator, backend, storage, events, clock } = bench({ source: () => ({ offset: 17 }) })
    await put(backend, 'a=1 b=2')
    const checkpoint = await coordinator.createCheckpoint()
    expect(checkpoint).toMatchObject({
      id: 'chk-0000000001',
      sequence: 1,
      createdAt: new Date(1_700_000_000_000),
      kind: 'full',
      savepoint: false,
      entryCount: 2,
      validated: true,
      version: 1,
      source: { offset: 17 },
    })
    const names = ['chk-0000000001.base.segment', 'chk-0000000001.manifest', 'sequence']
    expect(await namesIn(storage)).toEqual(names)
    const sizes = await Promise.all(
      names.slice(0, 2).map(async (name) => (await bytesIn(storage, name)).length),
    )
    expect(checkpoint.sizeBytes).toBe((sizes[0] ?? 0) + (sizes[1] ?? 0))
    expect(events).toEqual(['started chk-0000000001', 'completed chk-0000000001'])
    expect(await coordinator.listCheckpoints()).toEqual([checkpoint])
    expect(coordinator.stats()).toEqual({
      lastKind: 'full',
      lastWrittenBytes: checkpoint.sizeBytes,
      writtenBytes: checkpoint.sizeBytes,
      lastCutMs: expect.any(Number),
      chainDeltas: 0,
      merges: 0,
      mergeFailures: 0,
      merging: false,
      created: 1,
      failed: 0,
      lastDurationMs: 0,
      totalDurationMs: 0,
      lastSizeBytes: checkpoint.sizeBytes,
      totalBytes: checkpoint.sizeBytes,
      restores: 0,
      restoreFailures: 0,
      lastError: undefined,
      lastSuccessAt: new Date(clock.now()),
      running: false,
    })
  })

  it('names the version of the package', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'))
    expect(HOLDFAST_VERSION).toBe(version)
  })

  it('takes state and source position at one instant, that of the call', async () => {
    let offset = 1
    const { coordinator, backend } = bench({ source: () => ({ offset }) })
    backend.putSync(bytesOf('offset'), bytesOf('1'))
    await coordinator.start()
    const making = coordinator.createCheckpoint()
    backend.putSync(bytesOf('offset'), bytesOf('2'))
    offset = 2
    expect((await making).source).toEqual({ offset: 1 })
    await coordinator.restoreLatest()
    expect(await contentOf(backend)).toBe('offset=1')
  })

  it('takes the position as it was, whatever is done to the object later', async () => {
    const position = { offsets: [1] }
    const { coordinator } = bench({ source: () => position })
    const making = coordinator.createCheckpoint()
    position.offsets.push(2)
    await coordinator.shutdown()
    position.offsets.push(3)
    expect((await making).source).not.toBe(position)
    expect(JSON.stringify((await making).source)).not.toContain('3')
  })

  it('asks an asynchronous backend for its snapshot before the source, in one step', async () => {
    const steps: string[] = []
    const inner = new ModelStateBackend()
    const backend = new Proxy<StateBackend>(inner, {
      has: (target, name) => name !== 'snapshotSync' && name in target,
      get: (target, name) => {
        if (name === 'snapshotSync') return undefined
        if (name === 'supports') return { ...inner.supports, sync: false }
        const member: unknown = Reflect.get(target, name)
        if (typeof member !== 'function') return member
        return (...args: unknown[]) => {
          if (name === 'snapshot') steps.push('snapshot')
          return Reflect.apply(member, target, args)
        }
      },
    })
    const source = () => {
      steps.push('source')
      queueMicrotask(() => steps.push('later'))
      return 1
    }
    const coordinator = new CheckpointCoordinator(backend, { storage: new MemoryCheckpointStorage(), source })
    await coordinator.createCheckpoint()
    expect(steps).toEqual(['snapshot', 'source', 'later'])
  })

  it.each<[string, () => unknown]>([
    ['undefined', () => undefined],
    ['NaN', () => ({ offset: Number.NaN })],
    ['a bigint', () => 1n],
    [
      'a cycle',
      () => {
        const cycle: Record<string, unknown> = {}
        cycle['self'] = cycle
        return cycle
      },
    ],
    ['more than the manifest takes', () => 'x'.repeat(9_000_000)],
  ])('fails before anything is written when the source is no JSON: %s', async (_, source) => {
    const { coordinator, storage, backend, events } = bench({ source: source as () => JsonValue })
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({ code: 'SERIALIZATION_FAILED' })
    expect(await namesIn(storage)).toEqual([])
    expect(backend.stats().openSnapshots).toBe(0)
    expect(events).toEqual(['failed undefined SERIALIZATION_FAILED'])
    expect(coordinator.stats()).toMatchObject({ failed: 1, created: 0 })
  })

  it('wraps what a source throws, and closes the snapshot', async () => {
    const failure = new Error('no position')
    const { coordinator, backend } = bench({
      source: () => {
        throw failure
      },
    })
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({
      code: 'CHECKPOINT_FAILED',
      cause: failure,
    })
    expect(backend.stats().openSnapshots).toBe(0)
  })

  it('gives each of several callers a checkpoint with what he wrote before', async () => {
    const { coordinator, backend } = bench()
    const ids: string[] = []
    const made: Promise<void>[] = []
    for (const [key, value] of [
      ['a', '1'],
      ['b', '2'],
      ['c', '3'],
    ] as const) {
      backend.putSync(bytesOf(key), bytesOf(value))
      made.push(
        coordinator.createCheckpoint().then(({ id, entryCount }) => void ids.push(`${id}:${entryCount}`)),
      )
    }
    expect(coordinator.stats().running).toBe(true)
    await Promise.all(made)
    expect(ids.map((id) => id.slice(0, 14))).toEqual(['chk-0000000001', 'chk-0000000002', 'chk-0000000003'])
    expect(ids[2]).toBe('chk-0000000003:3')
  })

  it('can be aborted while waiting and while running; the next one is not harmed', async () => {
    const { coordinator, backend, storage } = bench()
    await put(backend, 'a=1')
    const aborted = AbortSignal.abort()
    await expect(coordinator.createCheckpoint({ signal: aborted })).rejects.toMatchObject({ code: 'ABORTED' })
    const controller = new AbortController()
    coordinator.on('started', () => controller.abort())
    const running = coordinator.createCheckpoint({ signal: controller.signal })
    await expect(running).rejects.toMatchObject({ code: 'ABORTED' })
    expect(await namesIn(storage)).toEqual(['sequence'])
    expect(backend.stats().openSnapshots).toBe(0)
    expect((await coordinator.createCheckpoint()).id).toBe('chk-0000000002')
  })

  it('closes the snapshot before the segment is verified', async () => {
    const { coordinator, backend, storage } = bench()
    await put(backend, 'a=1')
    const openWhenRead: number[] = []
    const original = storage.read.bind(storage)
    vi.spyOn(storage, 'read').mockImplementation(async (name, maxBytes) => {
      if (name.endsWith('.segment')) openWhenRead.push(backend.stats().openSnapshots)
      return await original(name, maxBytes)
    })
    await coordinator.createCheckpoint()
    expect(openWhenRead).toEqual([0])
  })

  it('is not published when the segment does not read back as it was written', async () => {
    const { coordinator, backend, storage, events } = bench()
    await put(backend, 'a=1')
    await coordinator.createCheckpoint()
    const original = storage.read.bind(storage)
    vi.spyOn(storage, 'read').mockImplementationOnce(async (name, maxBytes) => {
      expect(name).toMatch(/segment$/)
      const bytes = (await bytesIn(storage, name)).slice()
      bytes[30] = (bytes[30] as number) ^ 1
      storage.tamper(name, bytes)
      return await original(name, maxBytes)
    })
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({
      code: 'CHECKPOINT_FAILED',
      details: { checkpointId: 'chk-0000000002' },
      cause: { code: 'CORRUPTION' },
    })
    expect(await namesIn(storage)).toEqual([
      'chk-0000000001.base.segment',
      'chk-0000000001.manifest',
      'sequence',
    ])
    expect(events.at(-1)).toBe('failed chk-0000000002 CHECKPOINT_FAILED')
    expect((await coordinator.createCheckpoint()).id).toBe('chk-0000000003')
  })

  it('refuses a codec that this runtime lacks when it is constructed', () => {
    const storage = new MemoryCheckpointStorage()
    const make = () => new CheckpointCoordinator(new ModelStateBackend(), { storage, compression: 'zstd' })
    if ('zstdCompress' in process.getBuiltinModule('node:zlib')) expect(make).not.toThrow()
    else expect(make).toThrow(expect.objectContaining({ code: 'INCOMPATIBLE' }))
  })

  it('lists every violation of its options', () => {
    const options = {
      intervalMs: 0,
      maxCheckpoints: 0,
      keep: 3,
      compression: 'zip',
      logger: {},
      clock: { now: 1 },
    }
    const make = () =>
      new CheckpointCoordinator({} as StateBackend, options as unknown as CheckpointCoordinatorOptions)
    let error: unknown
    try {
      make()
    } catch (thrown) {
      error = thrown
    }
    const violations = isStateError(error, 'INVALID_ARGUMENT') ? error.details.violations : []
    expect(violations.map(({ argument }) => argument)).toEqual([
      'backend',
      'options.intervalMs',
      'options.maxCheckpoints',
      'options.keep',
      'options.compression',
      'options.logger',
      'options.clock',
      'options.storage',
    ])
  })
})

describe('periodic checkpoints', () => {
  it('come every interval, counted from start to start', async () => {
    const { coordinator, clock, events } = bench({ intervalMs: 1_000 })
    await coordinator.start()
    await coordinator.start()
    await clock.advanceAsync(999)
    expect(events).toEqual([])
    for (let created = 1; created <= 6; created++) {
      await clock.advanceAsync(1)
      await idle(coordinator)
      expect(coordinator.stats().created).toBe(created)
      await clock.advanceAsync(999)
    }
  })

  it('pause after the end of any checkpoint', async () => {
    const { coordinator, clock } = bench({ intervalMs: 1_000, minPauseMs: 600 })
    await coordinator.start()
    await clock.advanceAsync(900)
    await coordinator.createCheckpoint()
    await clock.advanceAsync(599)
    expect(coordinator.stats().created).toBe(1)
    await clock.advanceAsync(1)
    await idle(coordinator)
    expect(coordinator.stats().created).toBe(2)
  })

  it('fail without harm: counted, logged, emitted, and the next one is made', async () => {
    const { coordinator, clock, storage, events, log } = bench({ intervalMs: 1_000 })
    patchLeases(storage, (lease) => {
      vi.spyOn(lease, 'create').mockRejectedValueOnce(new Error('disk on fire'))
    })
    await coordinator.start()
    await clock.advanceAsync(1_000)
    await idle(coordinator)
    expect(coordinator.stats()).toMatchObject({ failed: 1, lastError: { code: 'CHECKPOINT_FAILED' } })
    expect(events).toEqual(['started chk-0000000001', 'failed chk-0000000001 CHECKPOINT_FAILED'])
    expect(log).toContain('error: checkpoint failed')
    await clock.advanceAsync(1_000)
    await idle(coordinator)
    expect(events.at(-1)).toBe('completed chk-0000000002')
  })

  it('wait for ever with an infinite interval', async () => {
    const { coordinator, clock } = bench({ intervalMs: Infinity })
    const before = clock.pendingTimers
    await coordinator.start()
    expect(clock.pendingTimers).toBe(before)
  })

  it('wait longer than a timer can', async () => {
    const { coordinator, clock, backend } = bench({ intervalMs: 2 ** 32 })
    await backend.close()
    await coordinator.start()
    clock.advance(2 ** 32 - 1)
    expect(coordinator.stats().running).toBe(false)
    clock.advance(1)
    expect(coordinator.stats().running).toBe(true)
  })
})

describe('events', () => {
  it('are typed, and can be stopped', async () => {
    const { coordinator } = bench()
    const ids: CheckpointEvents['completed']['checkpoint']['id'][] = []
    const stop = coordinator.on('completed', ({ checkpoint }) => ids.push(checkpoint.id))
    await coordinator.createCheckpoint()
    stop()
    await coordinator.createCheckpoint()
    expect(ids).toEqual(['chk-0000000001'])
  })
})

describe('what surrounds a coordinator', () => {
  it('a logger that throws fails nothing: its errors surface by themselves', async () => {
    const thrown: unknown[] = []
    const listeners = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.on('uncaughtException', (error) => thrown.push(error))
    try {
      const broken = () => {
        throw new Error('logger')
      }
      const logger = { debug: broken, info: broken, warn: broken, error: broken }
      const { coordinator, backend } = bench({ logger, maxCheckpoints: 1 })
      await put(backend, 'a=1')
      for (let i = 0; i < 3; i++) await coordinator.createCheckpoint()
      expect((await coordinator.restoreLatest())?.id).toBe('chk-0000000003')
      expect((await coordinator.listCheckpoints()).length).toBe(1)
      expect(coordinator.stats()).toMatchObject({ created: 3, failed: 0, restores: 1, restoreFailures: 0 })
      await coordinator.shutdown()
    } finally {
      process.removeAllListeners('uncaughtException')
      for (const listener of listeners) process.on('uncaughtException', listener)
    }
    expect(thrown.length).toBeGreaterThan(0)
  })

  it('names an event that does not exist and a listener that is none', () => {
    const { coordinator } = bench()
    const on = coordinator.on.bind(coordinator) as (event: unknown, listener: unknown) => void
    expect(() => on('complete', () => {})).toThrow(/on\.event must be one of started, completed/)
    expect(() => on('completed', 5)).toThrow(/on\.listener must be a function/)
  })

  it('restores what a clock before 1970 has stamped', async () => {
    const clock = new ManualClock(-5_000)
    const backend = new ModelStateBackend({ clock })
    const coordinator = new CheckpointCoordinator(backend, { storage: new MemoryCheckpointStorage(), clock })
    await put(backend, 'a=1')
    const { id } = await coordinator.createCheckpoint()
    expect((await coordinator.restoreLatest())?.id).toBe(id)
  })
})

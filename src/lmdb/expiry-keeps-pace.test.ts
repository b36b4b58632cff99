// Unique keys at a constant rate, each alive for a second: after many lifetimes, what is held is a few times what is alive. No
// timer helps (`sweepIntervalMs: Infinity`), so what is removed is what writes have paid for.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runs } from '../../test/support/long.js'
import { WriteBatch } from '../backend/write-batch.js'
import type { StateError } from '../base/errors.js'
import { Slot } from '../base/slot.js'
import { CheckpointCoordinator } from '../checkpoint/coordinator/checkpoint-coordinator.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { ManualClock } from '../testing/manual-clock.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'
import type { LmdbStateBackendOptions } from './types.js'

const TTL_MS = 1_000
const TICK_MS = 125
const KEYS_PER_TICK = 50
const ALIVE = (TTL_MS / TICK_MS) * KEYS_PER_TICK
const TICKS = (runs(20, 6) * TTL_MS) / TICK_MS
/** What waits for a look, and for a commit, beside what is alive. */
const FACTOR = 3

const value = Buffer.alloc(40, 'v')
const keyOf = (i: number): Buffer => Buffer.from(`key ${i}`)

describe('on the LMDB engine, what is held stays within a constant factor of what is alive', () => {
  let path: string
  let clock: ManualClock
  beforeEach(async () => {
    path = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
    clock = new ManualClock()
  })
  afterEach(() => rm(path, { recursive: true, force: true }))

  const open = (options?: Partial<LmdbStateBackendOptions>) =>
    LmdbStateBackend.open({ path, clock, sweepIntervalMs: Infinity, flushEvery: 128, ...options })

  /** Puts at a constant rate for many lifetimes; `afterTick` is called after each tick. Resolves to the most that was held. */
  async function mostHeld(
    backend: LmdbStateBackend,
    afterTick: (tick: number) => Promise<unknown> | undefined,
    put: (first: number) => void = (first) => putEach(backend, first),
  ): Promise<number> {
    let most = 0
    const before = backend.stats().entries
    for (let tick = 0; tick < TICKS; tick++) {
      put(tick * KEYS_PER_TICK)
      clock.advance(TICK_MS)
      // Without a promise, the event loop has no turn.
      const wait = afterTick(tick)
      if (wait !== undefined) await wait
      const { entries, expired } = backend.stats()
      const came = before + (tick + 1) * KEYS_PER_TICK
      expect(entries + expired, 'each entry is held, or was told of as expired once').toBe(came)
      most = Math.max(most, entries)
    }
    return most
  }

  function putEach(backend: LmdbStateBackend, first: number): void {
    for (let i = first; i < first + KEYS_PER_TICK; i++) backend.putSync(keyOf(i), value, { ttlMs: TTL_MS })
  }

  const flushAtTimes = (backend: LmdbStateBackend) => (tick: number) =>
    tick % 4 === 0 ? backend.flush() : new Promise((resolve) => setImmediate(resolve))

  it('where commits go on beside writes', async () => {
    await using backend = await open()
    let told = 0
    backend.on('expired', ({ keys }) => {
      told += keys.length
    })
    expect(await mostHeld(backend, flushAtTimes(backend))).toBeLessThan(FACTOR * ALIVE)
    expect(told).toBe(backend.stats().expired)
  })

  it('where the caller gives the event loop no turn, and where nothing is committed before it expires', async () => {
    for (const flushEvery of [128, 1_000_000]) {
      await using backend = await open({ cacheBytes: 1024 * 1024, flushEvery })
      expect(await mostHeld(backend, () => undefined)).toBeLessThan(FACTOR * ALIVE)
      await backend.clear()
    }
  })

  it('where batches are written, and where entries are made in place', async () => {
    await using backend = await open()
    const slot = new Slot()
    let inPlace = false
    const put = (first: number) => {
      inPlace = !inPlace
      const batch = new WriteBatch()
      for (let i = first; i < first + KEYS_PER_TICK; i++) {
        if (inPlace) backend.updateSync(keyOf(i), 8, slot, { ttlMs: TTL_MS })
        else batch.put(keyOf(i), value, { ttlMs: TTL_MS })
      }
      backend.writeSync(batch)
    }
    expect(await mostHeld(backend, flushAtTimes(backend), put)).toBeLessThan(FACTOR * ALIVE)
  })

  it('beside a snapshot that is held, a scan that stands still, and a reader of the store, who sees the same', async () => {
    await using backend = await open()
    for (const name of ['a', 'b', 'c']) backend.putSync(Buffer.from(name), value)
    await backend.flush()
    await using snapshot = backend.snapshotSync()
    const scan = backend.scan()
    await scan.next()
    await using reader = await open({ readOnly: true })
    let mostRead = 0
    const held = await mostHeld(backend, async (tick) => {
      await flushAtTimes(backend)(tick)
      mostRead = Math.max(mostRead, reader.stats().entries)
    })
    expect(held).toBeLessThan(FACTOR * ALIVE)
    expect(mostRead).toBeLessThan(FACTOR * ALIVE)
    expect([...snapshot.scanSync()]).toHaveLength(3)
    expect(Buffer.from((await scan.next()).value?.[0] ?? []).toString()).toBe('b')
    await scan.return?.()
  })

  it('beside incremental checkpoints', async () => {
    await using backend = await open()
    await using coordinator = new CheckpointCoordinator(backend, { storage: new MemoryCheckpointStorage() })
    const held = await mostHeld(backend, (tick) =>
      tick % 16 === 0 ? coordinator.createCheckpoint() : flushAtTimes(backend)(tick),
    )
    expect(held).toBeLessThan(FACTOR * ALIVE)
  })

  it('of what a full store holds, what has expired makes room for the next put', async () => {
    await using backend = await open({ maxBytes: 1024 * 1024 })
    const large = Buffer.alloc(10_000)
    const fill = (name: string): StateError => {
      try {
        for (let i = 0; ; i++) backend.putSync(Buffer.from(`${name} ${i}`), large, { ttlMs: TTL_MS })
      } catch (error) {
        return error as StateError
      }
    }
    expect(fill('first').code).toBe('BACKEND_FULL')
    const { entries } = backend.stats()
    clock.advance(TTL_MS)
    expect(fill('second').code).toBe('BACKEND_FULL')
    expect(backend.stats()).toMatchObject({ expired: entries, entries })
  })
})

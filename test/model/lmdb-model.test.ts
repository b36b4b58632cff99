import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { StateBackend } from '../../src/backend/state-backend.js'
import type { LmdbStateBackend } from '../../src/lmdb/lmdb-state-backend.js'
import type { LmdbCompression } from '../../src/lmdb/types.js'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { titled } from '../faults/fault-kit.js'
import { leftToLongRuns, modelLimitMs, modelRuns } from '../support/long.js'
import { type EngineOptions, runCommands } from './backend-commands.js'
import { kind } from './commands.js'
import { lmdbKinds, StoresUnderTest } from './lmdb-commands.js'
import { onBoth } from './world.js'

const LIMIT_MS = modelLimitMs(600_000)

/** A run opens stores and waits for disks: there are fewer of them than of engines in memory. */
describe('LmdbStateBackend', () => {
  let folder: string
  let stores: StoresUnderTest

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-model-'))
    stores = new StoresUnderTest(folder)
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))

  const sweep = (engine: StateBackend) => (engine as LmdbStateBackend).sweep()
  /** So little memory and so short commits that entries are in every layer: buffers, cache and disk. */
  const openWith = (flushEvery: number, compression: LmdbCompression) => (options: EngineOptions) =>
    stores.open({ ...options, path: stores.newPath(), flushEvery, compression, cacheBytes: 1024 * 1024 })

  it(
    'behaves as the model does, whatever the commands, over restarts and crashes',
    async () => {
      const openCopy = async (options: EngineOptions) => new MemoryStateBackend(options)
      const run = runCommands(openWith(3, 'none'), {
        sweep,
        openCopy,
        ownKinds: lmdbKinds(stores),
        runs: modelRuns(100, 2),
      })
      await expect(run).resolves.toBeUndefined()
    },
    LIMIT_MS,
  )

  it(
    'does so too with compression, and where most is in the write buffer',
    async () => {
      const runs = modelRuns(50, 1)
      const run = runCommands(openWith(40, 'lz4'), { sweep, ownKinds: lmdbKinds(stores), runs })
      await expect(run).resolves.toBeUndefined()
    },
    LIMIT_MS,
  )

  it.skipIf(leftToLongRuns !== undefined)(
    titled('does so with a log before the tree', leftToLongRuns),
    async () => {
      const openLogged = (options: EngineOptions) =>
        stores.open({
          ...options,
          path: stores.newPath(),
          cacheBytes: 1024 * 1024,
          log: true,
          logFileBytes: 64 * 1024,
        })
      // Making the files takes longer than most runs: what comes behind this has a log.
      const logBegun = kind('logBegun', fc.constant(undefined), async (world) => {
        const isOpen = async () => {
          await onBoth(world, (backend) => backend.flush())
          return (world.engine as LmdbStateBackend).stats().log === 'open'
        }
        await vi.waitUntil(isOpen, { timeout: 60_000 })
      })
      const ownKinds = [...lmdbKinds(stores), logBegun, logBegun, logBegun]
      const run = runCommands(openLogged, { sweep, ownKinds, runs: modelRuns(8, 1) })
      await expect(run).resolves.toBeUndefined()
    },
    LIMIT_MS,
  )
})

// What a new owner removes under the one before it is no damage: that one has lost its lease, and says so.

import { describe, expect, it, onTestFinished } from 'vitest'
import { namesIn, patchLeases } from '../../../test/support/checkpoints.js'
import { put } from '../../../test/support/coordinator-bench.js'
import { base, bench, fill, merged } from '../../../test/support/incremental-bench.js'
import type { StorageLease } from '../../storage/checkpoint-storage.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { CheckpointArchive } from '../archive/checkpoint-archive.js'
import { manifestName, segmentName } from '../format/object-names.js'

const FIRST = 'chk-0000000001'
const becauseOfDamage = { code: 'FENCED', cause: { code: 'CORRUPTION' } }

/** Another one takes a storage over, and removes an object there. */
async function takeAway(storage: MemoryCheckpointStorage, name: string): Promise<void> {
  const lease: StorageLease = await storage.acquire({ takeOver: true })
  onTestFinished(() => lease.release())
  if (!(await lease.remove(name))) throw new Error(`there is no ${name}`)
}

/** An object is gone, with the lease under which it was written, as soon as it has its name. */
function takeAwayWhenCommitted(storage: MemoryCheckpointStorage, name: string): void {
  let isTaken = false
  patchLeases(storage, (lease) => {
    const create = lease.create.bind(lease)
    lease.create = async (created) => {
      const writer = await create(created)
      if (created !== name || isTaken) return writer
      isTaken = true
      const commit = async () => {
        await writer.commit()
        await takeAway(storage, name)
      }
      return { write: (bytes) => writer.write(bytes), commit, abort: () => writer.abort() }
    }
  })
}

/** An object is gone, with the lease of the owner before, when that one wants to read it. */
function takeAwayWhenRead(storage: MemoryCheckpointStorage, name: string): void {
  let isTaken = false
  const look = async (wanted: string) => {
    if (wanted !== name || isTaken) return
    isTaken = true
    await takeAway(storage, name)
  }
  const [open, read] = [storage.open.bind(storage), storage.read.bind(storage)]
  storage.open = async (wanted) => {
    await look(wanted)
    return await open(wanted)
  }
  storage.read = async (wanted, maxBytes) => {
    await look(wanted)
    return await read(wanted, maxBytes)
  }
}

describe('whose storage another one takes over, and removes there what was just written, is FENCED', () => {
  it.each([manifestName(1), base(1)])('a checkpoint, whose %s does not read back', async (name) => {
    const { coordinator, backend, storage, events, log } = bench()
    takeAwayWhenCommitted(storage, name)
    await put(backend, 'a=1')
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject(becauseOfDamage)
    expect(events).toEqual([`started ${FIRST}`, `failed ${FIRST} FENCED`])
    expect(log.filter((line) => line.startsWith('warn'))).toEqual([])
    // It is known from now on.
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({ code: 'FENCED' })
    expect(events).toHaveLength(3)
  })

  it.each([manifestName(1), segmentName(1, 'savepoint')])(
    'a savepoint in another storage, whose %s does not read back',
    async (name) => {
      const { coordinator, backend } = bench()
      const other = new MemoryCheckpointStorage()
      takeAwayWhenCommitted(other, name)
      await put(backend, 'a=1')
      await expect(coordinator.createSavepoint(other)).rejects.toMatchObject(becauseOfDamage)
    },
  )

  it.each([manifestName(1), base(1)])('a copy, whose %s does not read back', async (name) => {
    const { coordinator, backend, storage } = bench()
    await put(backend, 'a=1')
    await coordinator.createCheckpoint()
    const other = new MemoryCheckpointStorage()
    takeAwayWhenCommitted(other, name)
    const copied = new CheckpointArchive(storage).copyTo(other, FIRST)
    await expect(copied).rejects.toMatchObject(becauseOfDamage)
  })
})

it('a merge whose segments a new owner removes tells that this one is FENCED', async () => {
  const { coordinator, backend, storage } = bench({ maxDeltas: 1 })
  await fill(backend)
  await coordinator.createCheckpoint()
  await coordinator.createCheckpoint()
  takeAwayWhenRead(storage, base(1))
  await coordinator.createCheckpoint()
  await merged(coordinator)
  expect(coordinator.stats()).toMatchObject({ mergeFailures: 1, lastError: { code: 'FENCED' } })
})

it('a restore by an owner whose checkpoints a new one removes is FENCED', async () => {
  const { coordinator, backend, storage } = bench()
  await put(backend, 'a=1')
  await coordinator.createCheckpoint()
  takeAwayWhenRead(storage, base(1))
  await expect(coordinator.restoreLatest()).rejects.toMatchObject({
    code: 'FENCED',
    cause: { code: 'RESTORE_FAILED' },
  })
  expect(await namesIn(storage)).toEqual([manifestName(1), 'sequence'])
  await expect(coordinator.restoreLatest()).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
})

it('damage is told as such to an owner that has its lease', async () => {
  const { coordinator, backend, storage } = bench()
  await put(backend, 'a=1')
  await coordinator.createCheckpoint()
  storage.tamper(base(1), undefined)
  await expect(coordinator.restoreLatest()).rejects.toMatchObject({
    code: 'RESTORE_FAILED',
    details: { skipped: [{ id: FIRST, code: 'CORRUPTION' }] },
  })
})

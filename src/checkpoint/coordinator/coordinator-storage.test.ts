import { mkdtemp, readdir, rename, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { bytesOf, namesIn, patchLeases, rewriteSealed } from '../../../test/support/checkpoints.js'
import { bench, contentOf, crash, put, worker } from '../../../test/support/coordinator-bench.js'
import type { SkippedCheckpoint } from '../../base/errors.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { FileCheckpointStorage } from '../../storage/file-checkpoint-storage.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { FaultyCheckpointStorage } from '../../testing/faulty-storage.js'
import { CheckpointArchive } from '../archive/checkpoint-archive.js'
import { manifestName, segmentName } from '../format/object-names.js'
import { CheckpointCoordinator } from './checkpoint-coordinator.js'

describe('the sequence', () => {
  it('goes on after a restart, and is not set back by deletions', async () => {
    const first = bench()
    await first.coordinator.createCheckpoint()
    const { id } = await first.coordinator.createCheckpoint()
    await first.coordinator.deleteCheckpoint(id)
    crash(first.storage)
    const second = bench({}, first.storage)
    expect((await second.coordinator.createCheckpoint()).id).toBe('chk-0000000003')
  })

  it.each([
    ['lost', async (storage: MemoryCheckpointStorage) => storage.tamper('sequence', undefined)],
    ['damaged', (storage: MemoryCheckpointStorage) => storage.tamper('sequence', bytesOf('{"reserved":1}'))],
    ['huge', (storage: MemoryCheckpointStorage) => storage.tamper('sequence', new Uint8Array(10_000))],
  ])('when %s is derived from the names, with a warning', async (what, damage) => {
    const first = bench()
    for (let i = 0; i < 3; i++) await first.coordinator.createCheckpoint()
    crash(first.storage)
    await damage(first.storage)
    const second = bench({}, first.storage)
    expect((await second.coordinator.restoreLatest())?.id).toBe('chk-0000000003')
    if (what !== 'lost') {
      expect(second.log).toContain('warn: cannot tell whether a newer checkpoint was lost without a trace')
    }
    expect((await second.coordinator.createCheckpoint()).id).toBe('chk-0000000004')
    expect(second.log).toContain('warn: the sequence of checkpoints was derived from the names of the files')
  })

  it('when damaged still proves that there was something', async () => {
    const { coordinator, storage } = bench()
    storage.tamper('sequence', bytesOf('garbage'))
    await expect(coordinator.restoreLatest()).rejects.toMatchObject({
      code: 'RESTORE_FAILED',
      cause: { code: 'CORRUPTION' },
    })
  })

  it('of a newer version stops the writer, not the reader', async () => {
    const first = bench()
    await first.coordinator.createCheckpoint()
    crash(first.storage)
    await rewriteSealed(first.storage, 'sequence', (content) => {
      content['version'] = 2
    })
    const second = bench({}, first.storage)
    expect((await second.coordinator.restoreLatest())?.id).toBe('chk-0000000001')
    await expect(second.coordinator.start()).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
  })

  it('does not count beyond what numbers can tell apart: a stray file of the last name stops it with its name', async () => {
    const { coordinator, storage, backend } = bench()
    await coordinator.createCheckpoint()
    storage.tamper(`chk-${Number.MAX_SAFE_INTEGER}.manifest`, bytesOf('stray'))
    crash(storage)
    const second = bench({}, storage)
    await put(backend, 'new=1')
    await expect(second.coordinator.createCheckpoint()).rejects.toMatchObject({
      cause: { code: 'STORAGE_ERROR', message: expect.stringContaining(`${Number.MAX_SAFE_INTEGER}`) },
    })
  })

  it('is undefined after a first checkpoint that never was', async () => {
    const first = bench()
    const read = first.storage.read.bind(first.storage)
    vi.spyOn(first.storage, 'read').mockImplementation(async (name, maxBytes) => {
      if (name.endsWith('.segment')) throw new Error('cannot read back')
      return await read(name, maxBytes)
    })
    patchLeases(first.storage, (lease) => {
      vi.spyOn(lease, 'remove').mockRejectedValueOnce(new Error('cannot remove'))
    })
    await expect(first.coordinator.createCheckpoint()).rejects.toMatchObject({ code: 'CHECKPOINT_FAILED' })
    expect(await namesIn(first.storage)).toEqual(['chk-0000000001.base.segment', 'sequence'])
    expect(await first.coordinator.restoreLatest()).toBeUndefined()
  })
})

describe('a checkpoint beside many others', () => {
  const kept = { maxCheckpoints: 10, incremental: true, maxDeltas: 100 }

  it.each([
    ['in memory', async () => new MemoryCheckpointStorage()],
    ['in files', async () => new FileCheckpointStorage(await mkdtemp(join(tmpdir(), 'holdfast-calls-')))],
  ])('of one changed key makes at most 12 calls of a storage %s, and lists nothing', async (_where, make) => {
    const inner = await make()
    const storage = new FaultyCheckpointStorage(inner)
    const backend = new MemoryStateBackend()
    const coordinator = new CheckpointCoordinator(backend, { storage, worker, ...kept })
    for (let i = 0; i < 1_000; i++) backend.putSync(bytesOf(`k${i}`), bytesOf(`v${i}`))
    for (let i = 0; i < 20; i++) await coordinator.createSavepoint(storage)
    for (let i = 0; i < 11; i++) {
      backend.putSync(bytesOf('k1'), bytesOf(`${i}`))
      await coordinator.createCheckpoint()
    }
    for (const incremental of [true, false]) {
      const before = storage.calls.length
      backend.putSync(bytesOf('k1'), bytesOf('x'))
      if (!incremental) await backend.clear()
      await coordinator.createCheckpoint()
      const calls = storage.calls.slice(before).map(({ operation }) => operation)
      expect(calls, calls.join(' ')).not.toContain('list')
      expect(calls.length, calls.join(' ')).toBeLessThanOrEqual(12)
    }
    expect(await coordinator.listCheckpoints()).toHaveLength(30)
    await coordinator.shutdown()
    if (inner instanceof FileCheckpointStorage)
      await rm(inner.name.slice('file:'.length), { recursive: true })
  })

  it('is made, and loses nothing, where somebody has removed what retention was about to remove', async () => {
    const storage = new MemoryCheckpointStorage()
    const { coordinator, backend } = bench({ maxCheckpoints: 2, incremental: true }, storage)
    for (const value of ['1', '2', '3']) {
      await put(backend, `a=${value}`)
      await coordinator.createCheckpoint()
    }
    storage.tamper(manifestName(2), undefined)
    await coordinator.createCheckpoint()
    await coordinator.createCheckpoint()
    expect((await coordinator.listCheckpoints()).map(({ sequence }) => sequence)).toEqual([5, 4])
    expect((await coordinator.verify('chk-0000000005')).checkpoint.id).toBe('chk-0000000005')
    expect(coordinator.stats().failed).toBe(0)
  })

  it('finds within the hour what somebody else has put there or removed', async () => {
    const faulty = new FaultyCheckpointStorage(new MemoryCheckpointStorage())
    const { coordinator, clock } = bench({ storage: faulty, maxCheckpoints: 3 })
    for (let i = 0; i < 3; i++) await coordinator.createCheckpoint()
    const lists = faulty.count('list')
    clock.advance(3_599_999)
    await coordinator.createCheckpoint()
    expect(faulty.count('list')).toBe(lists)
    clock.advance(1)
    await coordinator.createCheckpoint()
    expect(faulty.count('list')).toBe(lists + 1)
  })

  it('lists the storage again after a failure, which may have left something behind', async () => {
    const storage = new MemoryCheckpointStorage()
    const faulty = new FaultyCheckpointStorage(storage)
    const { coordinator, clock } = bench({ storage: faulty, graceMs: 0 })
    await coordinator.createCheckpoint()
    faulty.inject({ effect: 'fail', operation: 'writer.commit', object: '.manifest' })
    faulty.inject({ effect: 'fail', operation: 'remove', object: 'chk-0000000002' })
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({ code: 'CHECKPOINT_FAILED' })
    expect(await namesIn(storage)).toContain(segmentName(2, 'base'))
    clock.advance(1)
    await coordinator.createCheckpoint()
    expect(await namesIn(storage)).not.toContain(segmentName(2, 'base'))
  })
})

describe('retention', () => {
  it('keeps the newest, and removes manifests before segments', async () => {
    const { coordinator, storage, events } = bench({ maxCheckpoints: 2 })
    for (let i = 0; i < 4; i++) await coordinator.createCheckpoint()
    expect((await coordinator.listCheckpoints()).map(({ sequence }) => sequence)).toEqual([4, 3])
    expect(await namesIn(storage)).toHaveLength(5)
    expect(events.filter((event) => event.startsWith('deleted'))).toEqual([
      'deleted chk-0000000001',
      'deleted chk-0000000002',
    ])
  })

  it('leaves the files of a checkpoint whose manifest somebody has moved away, with a link in its place', async () => {
    const parent = await mkdtemp(join(tmpdir(), 'holdfast-links-'))
    onTestFinished(() => rm(parent, { recursive: true }))
    const directory = join(parent, 'checkpoints')
    const storage = new FileCheckpointStorage(directory)
    const first = bench({ storage })
    await put(first.backend, 'a=1')
    await first.coordinator.createCheckpoint()
    await first.coordinator.shutdown()
    const manifest = join(directory, manifestName(2))
    const moved = join(parent, 'moved')
    await rename(manifest, moved)
    await symlink(moved, manifest)
    const second = bench({ storage, graceMs: 0 })
    await put(second.backend, 'a=2')
    await second.coordinator.createCheckpoint()
    expect(await readdir(directory)).toContain(segmentName(2, 'base'))
    expect(second.log).toContain('warn: manifest cannot be read; retention leaves it alone')
    const skipped: string[] = []
    const onSkipped = ({ id, code }: SkippedCheckpoint) => skipped.push(`${id} ${code}`)
    await new CheckpointArchive(storage).list({ onSkipped })
    expect(skipped).toEqual(['chk-0000000002 STORAGE_ERROR'])
    await rename(moved, manifest)
    await second.coordinator.verify('chk-0000000002')
  })

  it('removes orphans after the grace period, counted from when they were first seen', async () => {
    const { coordinator, storage, clock } = bench({ graceMs: 10_000 })
    storage.tamper(segmentName(7, 'base'), bytesOf('left behind by a crash'))
    storage.tamper('notes.txt', bytesOf("somebody else's"))
    await coordinator.createCheckpoint()
    clock.advance(9_999)
    await coordinator.createCheckpoint()
    expect(await namesIn(storage)).toContain(segmentName(7, 'base'))
    clock.advance(1)
    await coordinator.createCheckpoint()
    expect(await namesIn(storage)).not.toContain(segmentName(7, 'base'))
    expect(await namesIn(storage)).toContain('notes.txt')
  })

  it('never fails the checkpoint that it follows', async () => {
    const { coordinator, storage, log } = bench({ maxCheckpoints: 1 })
    patchLeases(storage, (lease) => {
      vi.spyOn(lease, 'remove').mockRejectedValueOnce(new Error('cannot remove'))
    })
    await coordinator.createCheckpoint()
    await coordinator.createCheckpoint()
    expect(log).toContain('warn: retention failed; the next checkpoint tries again')
    await coordinator.createCheckpoint()
    expect(await coordinator.listCheckpoints()).toHaveLength(1)
  })
})

describe('savepoints', () => {
  it('go to a storage of the user, and can be restored from there by any engine', async () => {
    const { coordinator, backend, events } = bench({ source: () => 5 })
    await put(backend, 'a=1')
    const mine = new MemoryCheckpointStorage()
    const savepoint = await coordinator.createSavepoint(mine)
    expect(savepoint).toMatchObject({ id: 'chk-0000000001', savepoint: true, kind: 'full', source: 5 })
    expect(events).toEqual([])
    expect(coordinator.stats().created).toBe(0)
    const other = bench({}, mine)
    expect(await other.coordinator.restoreLatest()).toEqual(savepoint)
    expect(await contentOf(other.backend)).toBe('a=1')
  })

  it('are left alone by retention, damaged ones too, and go when they are deleted', async () => {
    const { coordinator, storage } = bench({ maxCheckpoints: 1 })
    const { id } = await coordinator.createSavepoint(storage)
    const other = await coordinator.createSavepoint(storage)
    storage.tamper(manifestName(other.sequence), bytesOf('garbage'))
    for (let i = 0; i < 3; i++) await coordinator.createCheckpoint()
    expect((await coordinator.listCheckpoints()).map(({ sequence }) => sequence)).toEqual([5, 1])
    expect(await namesIn(storage)).toContain(segmentName(2, 'savepoint'))
    await coordinator.deleteCheckpoint(id)
    await coordinator.deleteCheckpoint(other.id)
    expect(await namesIn(storage)).toEqual([segmentName(5, 'base'), manifestName(5), 'sequence'].sort())
  })

  it('fail like checkpoints, and leave nothing', async () => {
    const { coordinator } = bench()
    const mine = new MemoryCheckpointStorage()
    const held = await mine.acquire()
    await expect(coordinator.createSavepoint(mine)).rejects.toMatchObject({ code: 'FENCED' })
    await held.release()
    const failing = new MemoryCheckpointStorage()
    patchLeases(failing, (lease) => {
      vi.spyOn(lease, 'create').mockRejectedValueOnce(new Error('disk on fire'))
    })
    await expect(coordinator.createSavepoint(failing)).rejects.toMatchObject({ code: 'CHECKPOINT_FAILED' })
    expect(await namesIn(failing)).toEqual(['sequence'])
    await coordinator.createSavepoint(mine)
    expect(await namesIn(mine)).toEqual([segmentName(1, 'savepoint'), manifestName(1), 'sequence'].sort())
  })
})

import { describe, expect, it } from 'vitest'
import { bytesIn, bytesOf, namesIn, rewriteSealed } from '../../../test/support/checkpoints.js'
import { bench, contentOf, crash, put, shutDownAfterTest } from '../../../test/support/coordinator-bench.js'
import { StateError } from '../../base/errors.js'
import { ModelStateBackend } from '../../testing/model-state-backend.js'
import { manifestName, segmentName } from '../format/object-names.js'
import { CheckpointCoordinator } from './checkpoint-coordinator.js'

const HOUR_MS = 3_600_000

describe('restoring', () => {
  it('is undefined only where there has never been a checkpoint', async () => {
    const { coordinator, backend } = bench()
    await put(backend, 'a=1')
    expect(await coordinator.restoreLatest()).toBeUndefined()
    expect(await contentOf(backend)).toBe('a=1')
    const { id } = await coordinator.createCheckpoint()
    await coordinator.deleteCheckpoint(id)
    await expect(coordinator.restoreLatest()).rejects.toMatchObject({
      code: 'RESTORE_FAILED',
      details: { skipped: [] },
    })
    expect(await contentOf(backend)).toBe('a=1')
  })

  it('replaces the content, tells how far it is, and reports the source', async () => {
    const { coordinator, backend, events } = bench({ source: () => [1, 2] })
    await put(backend, 'a=1 b=2')
    await coordinator.createCheckpoint()
    await put(backend, 'a=9 c=3')
    const progress: object[] = []
    const restored = await coordinator.restoreLatest({ onProgress: (each) => progress.push(each) })
    expect(restored).toMatchObject({ id: 'chk-0000000001', source: [1, 2] })
    expect(await contentOf(backend)).toBe('a=1 b=2')
    expect(progress).toEqual([{ id: 'chk-0000000001', entries: 2, totalEntries: 2 }])
    expect(events).toContain('restored chk-0000000001')
    expect(coordinator.stats()).toMatchObject({ restores: 1, restoreFailures: 0 })
  })

  it('restores an empty state as such', async () => {
    const { coordinator, backend } = bench()
    await coordinator.createCheckpoint()
    await put(backend, 'a=1')
    expect(await coordinator.restoreLatest()).toMatchObject({ entryCount: 0 })
    expect(await contentOf(backend)).toBe('')
  })

  it('keeps expiry times and the time that the state has seen', async () => {
    const first = bench()
    await first.backend.put(bytesOf('short'), bytesOf('1'), { ttlMs: 1_000 })
    await first.backend.put(bytesOf('long'), bytesOf('2'), { ttlMs: HOUR_MS })
    first.clock.advance(500)
    await first.coordinator.createCheckpoint()
    crash(first.storage)
    // The next machine's clock is ten minutes behind: nothing lives longer for it.
    const second = bench({}, first.storage)
    second.clock.set(1_700_000_000_000 - 600_000)
    await second.coordinator.restoreLatest()
    expect(await contentOf(second.backend)).toBe('long=2 short=1')
    second.clock.advance(499)
    expect(await contentOf(second.backend)).toBe('long=2 short=1')
    second.clock.advance(1)
    expect(await contentOf(second.backend)).toBe('long=2')
    second.clock.advance(HOUR_MS - 1_001)
    expect(await contentOf(second.backend)).toBe('long=2')
    second.clock.advance(1)
    expect(await contentOf(second.backend)).toBe('')
  })

  it('falls back to the newest older checkpoint that verifies, and reports each one skipped', async () => {
    const { coordinator, backend, storage, events, log } = bench()
    for (const value of ['1', '2', '3', '4', '5']) {
      await put(backend, `a=${value}`)
      await coordinator.createCheckpoint()
    }
    // Of the same size, and with header and footer intact: found only when its block is read.
    const rotten = await bytesIn(storage, segmentName(5, 'base'))
    rotten[60] = (rotten[60] as number) ^ 1
    storage.tamper(segmentName(5, 'base'), rotten)
    storage.tamper(segmentName(4, 'base'), undefined)
    storage.tamper(manifestName(3), bytesOf('{"not": "a manifest"}'))
    const begun: string[] = []
    const restored = await coordinator.restoreLatest({ onBegin: ({ id }) => begun.push(id) })
    expect(restored?.id).toBe('chk-0000000002')
    expect(await contentOf(backend)).toBe('a=2')
    // Those whose manifests can be read are begun with.
    expect(begun).toEqual(['chk-0000000005', 'chk-0000000004', 'chk-0000000002'])
    expect(events.filter((event) => event.startsWith('skipped'))).toEqual([
      'skipped chk-0000000005 CORRUPTION',
      'skipped chk-0000000004 CORRUPTION',
      'skipped chk-0000000003 CORRUPTION',
    ])
    expect(log.filter((line) => line === 'error: checkpoint passed over by the restore')).toHaveLength(3)
  })

  const coded = (code: string) => [code, Object.assign(new Error(code), { code })] as const
  const noMemory = 'Array buffer allocation failed'
  it.each([...['EMFILE', 'ENFILE', 'ENOMEM'].map(coded), [noMemory, new RangeError(noMemory)] as const])(
    'fails, and passes over nothing, where a checkpoint cannot be read for want of files or memory (%s)',
    async (reason, cause) => {
      const { coordinator, backend, storage, events } = bench()
      for (const value of ['1', '2']) {
        await put(backend, `a=${value}`)
        await coordinator.createCheckpoint()
      }
      await put(backend, 'a=3')
      const { open, read } = storage
      for (const missing of [manifestName(2), segmentName(2, 'base')]) {
        const give = <Given>(name: string, given: () => Given) => {
          if (name !== missing) return given()
          const details = { storage: storage.name, operation: 'open', reason: `${name}: ${reason}` }
          throw new StateError('STORAGE_ERROR', details, { cause })
        }
        storage.open = async (name) => await give(name, () => open.call(storage, name))
        storage.read = async (name, maxBytes) => await give(name, () => read.call(storage, name, maxBytes))
        await expect(coordinator.restoreLatest()).rejects.toMatchObject({
          code: 'RESTORE_FAILED',
          details: { checkpointId: 'chk-0000000002', skipped: [], reason: expect.stringContaining(reason) },
        })
        expect(await contentOf(backend)).toBe('a=3')
      }
      Object.assign(storage, { open, read })
      expect(events.filter((event) => event.startsWith('skipped'))).toEqual([])
      expect((await coordinator.restoreLatest())?.id).toBe('chk-0000000002')
    },
  )

  it('reports the newest checkpoint when even its manifest is gone', async () => {
    const { coordinator, backend, storage, events } = bench()
    await put(backend, 'a=1')
    await coordinator.createCheckpoint()
    await coordinator.createCheckpoint()
    storage.tamper(manifestName(2), undefined)
    expect((await coordinator.restoreLatest())?.id).toBe('chk-0000000001')
    expect(events).toContain('skipped chk-0000000002 CORRUPTION')
  })

  it('does not call a checkpoint lost that was deleted', async () => {
    const { coordinator, events } = bench()
    await coordinator.createCheckpoint()
    await coordinator.createCheckpoint()
    expect(await coordinator.deleteCheckpoint('chk-0000000002')).toBe(true)
    expect(await coordinator.deleteCheckpoint('chk-0000000002')).toBe(false)
    expect((await coordinator.restoreLatest())?.id).toBe('chk-0000000001')
    expect(events.filter((event) => event.startsWith('skipped'))).toEqual([])
  })

  it('passes over a checkpoint of a newer version, and says so', async () => {
    const { coordinator, storage, events } = bench()
    await coordinator.createCheckpoint()
    await coordinator.createCheckpoint()
    await rewriteSealed(storage, manifestName(2), (manifest) => {
      manifest['version'] = 9
    })
    expect((await coordinator.restoreLatest())?.id).toBe('chk-0000000001')
    expect(events).toContain('skipped chk-0000000002 INCOMPATIBLE')
    await expect(coordinator.restore('chk-0000000002')).rejects.toMatchObject({
      code: 'RESTORE_FAILED',
      cause: { code: 'INCOMPATIBLE', details: { found: 'version 9' } },
    })
  })

  it('passes over a checkpoint with a schema it does not know; nothing lists, merges or removes it', async () => {
    const { coordinator, backend, storage, events, log } = bench({ maxCheckpoints: 1 })
    await put(backend, 'a=1')
    await coordinator.createCheckpoint()
    crash(storage)
    await rewriteSealed(storage, manifestName(1), (manifest) => {
      manifest['schema'] = { states: { totals: 'aggregating' } }
    })
    const next = bench({ maxCheckpoints: 1 }, storage)
    await expect(next.coordinator.restoreLatest()).rejects.toMatchObject({
      code: 'RESTORE_FAILED',
      details: { skipped: [{ id: 'chk-0000000001', code: 'INCOMPATIBLE' }] },
    })
    await expect(next.coordinator.verify('chk-0000000001')).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
    for (let i = 0; i < 3; i++) await next.coordinator.createCheckpoint()
    expect((await next.coordinator.listCheckpoints()).map(({ sequence }) => sequence)).toEqual([4])
    expect(next.log).toContain('warn: checkpoint not listed')
    expect(await namesIn(storage)).toEqual(
      expect.arrayContaining([
        manifestName(1),
        segmentName(1, 'base'),
        manifestName(4),
        segmentName(4, 'base'),
      ]),
    )
    expect(events).not.toContain('deleted chk-0000000001')
    expect(log).not.toContain('warn: checkpoint not listed')
  })

  it('fails, with the reason for each, when nothing verifies; the content stays', async () => {
    const { coordinator, backend, storage } = bench()
    await coordinator.createCheckpoint()
    await put(backend, 'a=1')
    await coordinator.createCheckpoint()
    storage.tamper(segmentName(1, 'base'), bytesOf('short'))
    storage.tamper(segmentName(2, 'base'), undefined)
    await put(backend, 'b=2')
    await expect(coordinator.restoreLatest()).rejects.toMatchObject({
      code: 'RESTORE_FAILED',
      details: {
        skipped: [
          { id: 'chk-0000000002', code: 'CORRUPTION', reason: expect.stringContaining('missing') },
          { id: 'chk-0000000001', code: 'CORRUPTION', reason: expect.stringContaining('5 bytes') },
        ],
      },
    })
    expect(await contentOf(backend)).toBe('a=1 b=2')
    expect(coordinator.stats()).toMatchObject({
      restores: 0,
      restoreFailures: 1,
      lastError: { code: 'RESTORE_FAILED' },
    })
  })

  it('does not take an older state because the backend is full', async () => {
    const { coordinator, backend, storage } = bench()
    await put(backend, 'a=1')
    await coordinator.createCheckpoint()
    await put(backend, `b=${'x'.repeat(500)}`)
    await coordinator.createCheckpoint()
    crash(storage)
    const little = new ModelStateBackend({ maxBytes: 100 })
    const next = new CheckpointCoordinator(little, { storage })
    shutDownAfterTest(next)
    await expect(next.restoreLatest()).rejects.toMatchObject({
      code: 'RESTORE_FAILED',
      details: { checkpointId: 'chk-0000000002' },
      cause: { code: 'BACKEND_FULL' },
    })
  })

  it('can be aborted; the content stays', async () => {
    const { coordinator, backend } = bench()
    for (let i = 0; i < 3; i++) await backend.put(bytesOf(`k${i}`), new Uint8Array(300_000))
    await coordinator.createCheckpoint()
    await backend.clear()
    await put(backend, 'a=1')
    const controller = new AbortController()
    const restoring = coordinator.restoreLatest({
      signal: controller.signal,
      onProgress: () => controller.abort(),
    })
    await expect(restoring).rejects.toMatchObject({ code: 'ABORTED' })
    expect(await contentOf(backend)).toBe('a=1')
  })

  it('checks the id', async () => {
    const { coordinator } = bench()
    for (const id of ['', '42', 'chk-42', '../chk-0000000001', 'chk-0000000000']) {
      await expect(coordinator.restore(id)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
      await expect(coordinator.verify(id)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
      await expect(coordinator.deleteCheckpoint(id)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    }
    await expect(coordinator.restore('chk-0000000001')).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
    await expect(coordinator.verify('chk-0000000001')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})

describe('verify and list', () => {
  it('reads all of a checkpoint', async () => {
    const { coordinator, backend } = bench()
    await put(backend, 'a=1 b=2')
    const checkpoint = await coordinator.createCheckpoint()
    expect(await coordinator.verify(checkpoint.id)).toEqual({
      checkpoint,
      segments: 1,
      entryCount: 2,
      bytesRead: checkpoint.sizeBytes,
    })
  })

  it('finds damage that the list cannot see, and logs what cannot be listed', async () => {
    const { coordinator, storage, log } = bench()
    await coordinator.createCheckpoint()
    await coordinator.createCheckpoint()
    await coordinator.createCheckpoint()
    const bytes = (await bytesIn(storage, segmentName(3, 'base'))).slice()
    bytes[40] = (bytes[40] as number) ^ 4
    storage.tamper(segmentName(3, 'base'), bytes)
    storage.tamper(manifestName(2), bytesOf('garbage'))
    const listed = await coordinator.listCheckpoints()
    expect(listed.map(({ id }) => id)).toEqual(['chk-0000000003', 'chk-0000000001'])
    expect(log).toContain('warn: checkpoint not listed')
    await expect(coordinator.verify('chk-0000000003')).rejects.toMatchObject({ code: 'CORRUPTION' })
    await expect(coordinator.verify('chk-0000000002')).rejects.toMatchObject({ code: 'CORRUPTION' })
  })
})

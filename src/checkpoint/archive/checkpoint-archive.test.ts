import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import {
  bytesIn,
  bytesOf,
  collect,
  entriesOf,
  entry,
  namesIn,
  rewriteSealed,
  shown,
  sortedEntries,
  type TestEntry,
  textOf,
} from '../../../test/support/checkpoints.js'
import { bench, put, worker } from '../../../test/support/coordinator-bench.js'
import { farAway } from '../../../test/support/far-storage.js'
import { runs } from '../../../test/support/long.js'
import { onRandomRuns } from '../../../test/support/random-runs.js'
import { storedCheckpoint } from '../../../test/support/stored-checkpoint.js'
import type { Entry, ScanRange } from '../../backend/types.js'
import { compareBytes } from '../../base/bytes.js'
import type { SkippedCheckpoint } from '../../base/errors.js'
import { isErrorLike } from '../../base/shapes.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { FaultyCheckpointStorage } from '../../testing/faulty-storage.js'
import { CheckpointCoordinator } from '../coordinator/checkpoint-coordinator.js'
import { manifestName, segmentName } from '../format/object-names.js'
import { CheckpointArchive } from './checkpoint-archive.js'

const FIRST = 'chk-0000000001'
const SECOND = 'chk-0000000002'

async function texts(entries: AsyncIterable<Entry>): Promise<string> {
  return (await collect(entries)).map(([key, value]) => `${textOf(key)}=${textOf(value)}`).join(' ')
}

describe('an archive', () => {
  it('lists, reads, compares and verifies what a coordinator has made, beside it', async () => {
    const storage = new MemoryCheckpointStorage()
    const backend = new MemoryStateBackend()
    await using coordinator = new CheckpointCoordinator(backend, { storage, worker, source: () => 7 })
    await put(backend, 'a=1 b=2 c=3')
    const first = await coordinator.createCheckpoint()
    await put(backend, 'b=9 d=4')
    backend.deleteSync(bytesOf('c'))
    const second = await coordinator.createCheckpoint()
    expect(second.kind).toBe('incremental')
    const archive = new CheckpointArchive(storage)
    expect(await archive.list()).toEqual([second, first])
    expect(await archive.verify(second.id)).toEqual({
      checkpoint: second,
      segments: 2,
      entryCount: 3,
      bytesRead: second.sizeBytes,
    })
    expect(textOf(await archive.get(second.id, bytesOf('b')))).toBe('9')
    expect(await archive.get(second.id, bytesOf('c'))).toBeUndefined()
    expect(textOf(await archive.get(first.id, bytesOf('c')))).toBe('3')
    expect(await texts(archive.scan(second.id))).toBe('a=1 b=9 d=4')
    expect(await texts(archive.scan(second.id, { gt: bytesOf('a'), reverse: true }))).toBe('d=4 b=9')
    expect((await archive.manifest(second.id)).segments).toHaveLength(2)
    const changes = await collect(archive.diff(first.id, second.id))
    expect(changes.map(({ kind, key }) => `${kind} ${textOf(key)}`)).toEqual([
      'changed b',
      'removed c',
      'added d',
    ])
    expect(textOf(changes[0]?.before?.value)).toBe('2')
    expect(textOf(changes[0]?.after?.value)).toBe('9')
    expect(changes[1]?.after).toBeUndefined()
    expect(await collect(archive.diff(second.id, second.id))).toEqual([])
    // It has taken nothing from the writer.
    expect((await coordinator.createCheckpoint()).id).toBe('chk-0000000003')
  })

  it('shows what had not expired by the time of the checkpoint, whatever time it is now', async () => {
    const { backend, coordinator, storage, clock } = bench()
    await backend.put(bytesOf('short'), bytesOf('1'), { ttlMs: 1_000 })
    await backend.put(bytesOf('long'), bytesOf('2'), { ttlMs: 60_000 })
    const { id } = await coordinator.createCheckpoint()
    clock.advance(10_000)
    const later = await coordinator.createCheckpoint()
    clock.advance(3_600_000)
    const archive = new CheckpointArchive(storage)
    expect(await texts(archive.scan(id))).toBe('long=2 short=1')
    expect(textOf(await archive.get(id, bytesOf('short')))).toBe('1')
    expect(await archive.get(later.id, bytesOf('short'))).toBeUndefined()
    expect(await texts(archive.scan(later.id))).toBe('long=2')
  })

  it('reads the same on the calling thread, verified, copied and salvaged as well', async () => {
    const storage = new MemoryCheckpointStorage()
    const backend = new MemoryStateBackend()
    await using coordinator = new CheckpointCoordinator(backend, { storage, worker })
    await put(backend, 'a=1 b=2 c=3')
    const { id } = await coordinator.createCheckpoint()
    const [pooled, alone] = [
      new CheckpointArchive(storage),
      new CheckpointArchive(storage, { offThread: false }),
    ]
    expect(await alone.verify(id)).toEqual(await pooled.verify(id))
    expect(await texts(alone.scan(id))).toBe(await texts(pooled.scan(id)))
    expect(await collect(alone.salvage(id))).toEqual(await collect(pooled.salvage(id)))
    const copied = new MemoryCheckpointStorage()
    await alone.copyTo(copied, id)
    expect(await texts(new CheckpointArchive(copied).scan(id))).toBe('a=1 b=2 c=3')
    expect(() => new CheckpointArchive(storage, { offThread: 0 } as never)).toThrow('offThread')
  })

  it('names no checkpoint that is not there', async () => {
    const archive = new CheckpointArchive(new MemoryCheckpointStorage())
    expect(await archive.list()).toEqual([])
    const missing = { code: 'INVALID_ARGUMENT', details: { violations: [{ argument: 'id' }] } }
    const reads = (id: string) => [
      archive.manifest(id),
      archive.verify(id),
      archive.get(id, bytesOf('k')),
      archive.open(id),
      collect(archive.scan(id)),
      collect(archive.blocks(id)),
      collect(archive.diff(id, id)),
    ]
    for (const each of [...reads(FIRST), ...reads('../secrets')])
      await expect(each).rejects.toMatchObject(missing)
  })

  it('refuses what is no storage, no key and no range', async () => {
    const { storage } = await storedCheckpoint([[entry('a', '1')]])
    expect(() => new CheckpointArchive({} as MemoryCheckpointStorage)).toThrow(/lacks acquire\(\)/)
    const archive = new CheckpointArchive(storage)
    const invalid = { code: 'INVALID_ARGUMENT' }
    await expect(archive.get(FIRST, 'a' as unknown as Uint8Array)).rejects.toMatchObject(invalid)
    await expect(collect(archive.scan(FIRST, { limit: -1 }))).rejects.toMatchObject(invalid)
    await expect(collect(archive.blocks(FIRST, { limit: 1 }))).rejects.toThrow(/range.limit/)
    await expect(collect(archive.diff(FIRST, FIRST, { reverse: true }))).rejects.toThrow(/range.reverse/)
  })

  it('tells of the newest checkpoint where even its manifest is missing, and not of one that was deleted', async () => {
    const { storage, coordinator } = bench()
    for (let i = 0; i < 3; i++) await coordinator.createCheckpoint()
    const archive = new CheckpointArchive(storage)
    const told = async () => {
      const skipped: string[] = []
      const listed = await archive.list({ onSkipped: ({ id, code }) => skipped.push(`${id} ${code}`) })
      return [listed.map(({ id }) => id), skipped]
    }
    await coordinator.deleteCheckpoint('chk-0000000003')
    expect(await told()).toEqual([[SECOND, FIRST], []])
    storage.tamper(manifestName(2), undefined)
    expect(await told()).toEqual([[FIRST], [`${SECOND} CORRUPTION`]])
    // Where the sequence cannot be read, the names are all there is.
    storage.tamper('sequence', bytesOf('garbage'))
    expect(await told()).toEqual([[FIRST], []])
  })

  it('tells which checkpoints it does not list, and why', async () => {
    const { storage } = await storedCheckpoint([[entry('a', '1')]])
    await storedCheckpoint([[entry('a', '2')]], 100, storage, 2)
    await storedCheckpoint([[entry('a', '3')]], 100, storage, 3)
    await rewriteSealed(storage, manifestName(2), (manifest) => {
      manifest['schema'] = { version: 7 }
    })
    storage.tamper(manifestName(3), bytesOf('garbage'))
    const archive = new CheckpointArchive(storage)
    const skipped: SkippedCheckpoint[] = []
    const listed = await archive.list({ onSkipped: (each) => skipped.push(each) })
    expect(listed.map(({ id }) => id)).toEqual([FIRST])
    expect(skipped.map(({ id, code }) => `${id} ${code}`)).toEqual([
      'chk-0000000003 CORRUPTION',
      `${SECOND} INCOMPATIBLE`,
    ])
    await expect(archive.get(SECOND, bytesOf('a'))).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
  })

  it('gives up when its signal fires', async () => {
    const entries = Array.from({ length: 50 }, (_, i) => entry(`k${i + 10}`, 'v'.repeat(200)))
    const { storage } = await storedCheckpoint([entries, entries])
    const archive = new CheckpointArchive(storage)
    const aborted = AbortSignal.abort(new Error('enough'))
    const { signal, abort } = abortable()
    const readTwo = async (each: AsyncIterable<unknown>) => {
      let seen = 0
      for await (const _ of each) if (++seen === 2) abort()
    }
    const attempts = [
      archive.list({ signal: aborted }),
      archive.verify(SECOND, { signal: aborted }),
      archive.get(SECOND, bytesOf('k10'), { signal: aborted }),
      collect(archive.scan(SECOND, { signal: aborted })),
      collect(archive.diff(SECOND, SECOND, { signal: aborted })),
      readTwo(archive.scan(SECOND, { signal })),
      readTwo(archive.blocks(SECOND, { signal })),
    ]
    for (const each of attempts) await expect(each).rejects.toMatchObject({ code: 'ABORTED' })
  })

  it('reads a checkpoint that is removed meanwhile as it was, or says that it is not there', async () => {
    const entries = Array.from({ length: 50 }, (_, i) => entry(`k${i + 10}`, 'v'.repeat(200)))
    const { storage } = await storedCheckpoint([entries])
    const archive = new CheckpointArchive(storage)
    const reader = await archive.open(FIRST)
    storage.tamper(segmentName(1, 'base'), undefined)
    expect(await collect(reader.scan())).toHaveLength(50)
    // Somebody lost the segment: damage. Then retention removed the manifest, too: it is not there.
    await expect(archive.verify(FIRST)).rejects.toMatchObject({ code: 'CORRUPTION' })
    storage.tamper(manifestName(1), undefined)
    await expect(archive.verify(FIRST)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await reader.close()
    await expect(reader.get(bytesOf('k10'))).rejects.toMatchObject({ code: 'CLOSED' })
    await reader.close()
  })

  it('fetches for a key no more than one block of each segment', async () => {
    const entries = Array.from({ length: 1_000 }, (_, i) => entry(`k${i + 1_000}`, 'v'.repeat(1_000)))
    const { storage, manifest } = await storedCheckpoint([entries, [entry('k1700', 'new')]], 10_000)
    const far = farAway(storage)
    const archive = new CheckpointArchive({
      ...far.storage,
      name: 'far',
      list: () => storage.list(),
      acquire: () => storage.acquire(),
    })
    expect(textOf(await archive.get(manifest.id, bytesOf('k1700')))).toBe('new')
    expect(textOf(await archive.get(manifest.id, bytesOf('k1701')))).toHaveLength(1_000)
    expect(far.bytesRead).toBeLessThan(60_000)
  })
})

describe('copying a checkpoint', () => {
  async function twoCheckpoints() {
    const { coordinator, backend, storage } = bench({ incremental: true })
    await put(backend, 'a=1 b=2')
    const first = await coordinator.createCheckpoint()
    await put(backend, 'b=3')
    const second = await coordinator.createCheckpoint()
    return { coordinator, storage, first, second, archive: new CheckpointArchive(storage) }
  }

  it('copies what is missing, beside the coordinator, and another coordinator goes on from there', async () => {
    const { storage, first, second, archive } = await twoCheckpoints()
    const inner = new MemoryCheckpointStorage()
    const target = new FaultyCheckpointStorage(inner)
    expect(await archive.copyTo(target, second.id)).toEqual(second)
    expect(target.count('create')).toBe(3)
    expect(await archive.copyTo(target, first.id)).toEqual(first)
    expect(target.count('create')).toBe(4)
    expect(await archive.copyTo(target, second.id)).toEqual(second)
    expect(target.count('create')).toBe(4)
    expect(await new CheckpointArchive(inner).list()).toEqual([second, first])
    expect(await namesIn(inner)).toEqual(await namesIn(storage))
    const next = bench({}, inner)
    expect((await next.coordinator.restoreLatest())?.id).toBe(second.id)
    expect(await texts(next.backend.scan())).toBe('a=1 b=3')
    expect((await next.coordinator.createCheckpoint()).sequence).toBe(3)
  })

  it('publishes nothing that is damaged, leaves nothing behind, and does not overwrite', async () => {
    const { storage, first, second, archive } = await twoCheckpoints()
    const target = new MemoryCheckpointStorage()
    const intact = await bytesIn(storage, segmentName(2, 'delta'))
    const rotten = intact.slice()
    rotten[60] = (rotten[60] as number) ^ 1
    storage.tamper(segmentName(2, 'delta'), rotten)
    await expect(archive.copyTo(target, second.id)).rejects.toMatchObject({ code: 'CORRUPTION' })
    expect(await namesIn(target)).toEqual(['sequence'])
    storage.tamper(segmentName(2, 'delta'), intact)
    await archive.copyTo(target, second.id)
    target.tamper(segmentName(1, 'base'), rotten)
    await expect(archive.copyTo(target, first.id)).rejects.toMatchObject({ code: 'CORRUPTION' })
    expect(await namesIn(target)).not.toContain(manifestName(1))
    const other = await storedCheckpoint([[entry('x', '1')]])
    await expect(new CheckpointArchive(other.storage).copyTo(storage, FIRST)).rejects.toMatchObject({
      code: 'FENCED',
    })
    storage.forgetOwner()
    await expect(new CheckpointArchive(other.storage).copyTo(storage, FIRST)).rejects.toThrow(
      /another checkpoint/,
    )
  })

  it('goes on where it failed, if it is resumable, and leaves nothing otherwise', async () => {
    const { second, archive } = await twoCheckpoints()
    for (const resumable of [false, true]) {
      const inner = new MemoryCheckpointStorage()
      const target = new FaultyCheckpointStorage(inner)
      target.inject({ effect: 'fail', operation: 'writer.commit', object: '.manifest' })
      await expect(archive.copyTo(target, second.id, { resumable })).rejects.toMatchObject({
        code: 'STORAGE_ERROR',
      })
      const left = (await inner.list()).filter(({ name }) => name.endsWith('.segment'))
      expect(left.length > 0).toBe(resumable)
      expect(await new CheckpointArchive(inner).list()).toEqual([])
      const before = target.count('writer.write')
      await archive.copyTo(target, second.id, { resumable })
      // Of what was there, nothing but the manifest is written.
      if (resumable) expect(target.count('writer.write') - before).toBe(1)
      await new CheckpointArchive(inner).verify(second.id)
    }
  })

  it('is whole or not there, whatever call of the other storage fails, and where it is given up', async () => {
    const { first, second, archive } = await twoCheckpoints()
    for (let nth = 1; ; nth++) {
      const inner = new MemoryCheckpointStorage()
      const target = new FaultyCheckpointStorage(inner)
      await archive.copyTo(target, first.id)
      const before = target.count()
      target.inject({ effect: 'fail', nth })
      const outcome = await archive.copyTo(target, second.id).catch((error: unknown) => error)
      const calls = target.count() - before
      target.heal()
      const listed = await new CheckpointArchive(inner).list()
      for (const { id } of listed) await new CheckpointArchive(inner).verify(id)
      if (!isErrorLike(outcome)) expect(listed).toHaveLength(2)
      inner.forgetOwner()
      await archive.copyTo(inner, second.id)
      if (calls < nth) break
    }
    const target = new MemoryCheckpointStorage()
    const signal = AbortSignal.abort()
    await expect(archive.copyTo(target, second.id, { signal })).rejects.toMatchObject({ code: 'ABORTED' })
    expect(await new CheckpointArchive(target).list()).toEqual([])
  })
})

describe('deleting from an archive', () => {
  it('looks once at what is there to remove many, and leaves what those that stay need', async () => {
    const { coordinator, backend, storage } = bench({ incremental: true, maxCheckpoints: 1_000 })
    for (let i = 1; i <= 250; i++) {
      await put(backend, `a=${i}`)
      await coordinator.createCheckpoint()
    }
    storage.forgetOwner()
    const archive = new CheckpointArchive(storage)
    const ids = (await archive.list()).map(({ id }) => id)
    const reads = vi.spyOn(storage, 'read')
    const listings = vi.spyOn(storage, 'list')
    const deleted: string[] = []
    await archive.deleteAll([...ids.slice(1), 'chk-0000009999'], { onDeleted: (id) => void deleted.push(id) })
    expect(deleted).toEqual(ids.slice(1).reverse())
    expect(reads.mock.calls.length).toBeLessThan(300)
    expect(listings.mock.calls.length).toBeLessThan(5)
    expect((await archive.list()).map(({ id }) => id)).toEqual(ids.slice(0, 1))
    const manifest = await archive.manifest(ids[0] as string)
    expect(await namesIn(storage)).toEqual(
      [...manifest.segments.map(({ name }) => name), manifestName(250), 'sequence'].sort(),
    )
    await archive.verify(ids[0] as string)
    await archive.deleteAll([ids[0] as string])
    expect(await namesIn(storage)).toEqual(['sequence'])
    expect(await archive.list({ onSkipped: () => expect.fail('none is missing') })).toEqual([])
  }, 60_000)

  it('removes no more of many once its signal has fired', async () => {
    const { coordinator, storage } = bench({ maxCheckpoints: 1_000 })
    for (let i = 0; i < 3; i++) await coordinator.createCheckpoint()
    storage.forgetOwner()
    const archive = new CheckpointArchive(storage)
    const ids = (await archive.list()).map(({ id }) => id)
    const signal = AbortSignal.abort()
    await expect(archive.deleteAll(ids, { signal })).rejects.toMatchObject({ code: 'ABORTED' })
    for (const wrong of [['x'], 'chk-0000000001' as unknown as string[]])
      await expect(archive.deleteAll(wrong)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect((await archive.list()).map(({ id }) => id)).toEqual(ids)
  })

  it('removes a checkpoint with what no other one needs, under the lease', async () => {
    const { coordinator, backend, storage } = bench({ incremental: true })
    await put(backend, 'a=1')
    await coordinator.createCheckpoint()
    await coordinator.createCheckpoint()
    const { id } = await coordinator.createSavepoint(storage)
    const archive = new CheckpointArchive(storage)
    await expect(archive.delete(id)).rejects.toMatchObject({ code: 'FENCED' })
    storage.forgetOwner()
    expect(await archive.delete(id)).toBe(true)
    expect(await archive.delete(id)).toBe(false)
    expect(await archive.delete(FIRST)).toBe(true)
    // The base of the first one is that of the second, too.
    expect(await namesIn(storage)).toEqual(
      [segmentName(1, 'base'), segmentName(2, 'delta'), manifestName(2), 'sequence'].sort(),
    )
    const next = bench({}, storage)
    expect((await next.coordinator.restoreLatest())?.id).toBe(SECOND)
    expect(next.events.filter((event) => event.startsWith('skipped'))).toEqual([])
  })
})

describe('what an archive reads', () => {
  const key = fc.uint8Array({ maxLength: 3, max: 4 })
  const segment = fc
    .array(
      fc.record({
        key,
        value: fc.option(fc.uint8Array({ maxLength: 30 }), { nil: undefined, freq: 4 }),
        expiresAtMs: fc.constantFrom(Infinity, 1, 0),
      }),
      { maxLength: 40 },
    )
    .map(sortedEntries)
  const asBase = (entries: readonly TestEntry[]) =>
    entries
      .filter(({ expiresAtMs }) => expiresAtMs > 0)
      .map((each) => ({ ...each, value: each.value ?? bytesOf('') }))
  const asDelta = (entries: readonly TestEntry[]) =>
    entries.map((each) => (each.value === undefined ? { ...each, expiresAtMs: Infinity } : each))
  const checkpoint = fc
    .array(segment, { minLength: 1, maxLength: 4 })
    .map(([first = [], ...others]) => [asBase(first), ...others.map(asDelta)])
  const bound = fc.option(key, { nil: undefined, freq: 1 })
  const range = fc.record({
    gte: bound,
    gt: bound,
    lt: bound,
    lte: bound,
    prefix: fc.option(fc.uint8Array({ maxLength: 1, max: 4 }), { nil: undefined, freq: 1 }),
    reverse: fc.boolean(),
    limit: fc.constantFrom(Infinity, 0, 1, 5),
  })

  /** What segments add up to, by a plain map. */
  function model(segments: readonly (readonly TestEntry[])[]): TestEntry[] {
    const latest = sortedEntries(segments.flat())
    return latest.filter(({ value, expiresAtMs }) => value !== undefined && expiresAtMs > 0)
  }

  it('is what the segments add up to, for any range, in either direction, and for each key', async () => {
    await onRandomRuns(
      fc.asyncProperty(checkpoint, range, async (segments, within) => {
        const { storage, manifest } = await storedCheckpoint(segments, 40)
        const archive = new CheckpointArchive(storage)
        const all = model(segments)
        // The engine's own scan is the judge of ranges.
        const backend = new MemoryStateBackend()
        for (const { key: each, value } of all) backend.putSync(each, value ?? bytesOf('?'))
        const asked = Object.fromEntries(
          Object.entries(within).filter(([, value]) => value !== undefined),
        ) as ScanRange
        const expected = [...backend.scanSync(asked)]
        expect(await collect(archive.scan(manifest.id, asked))).toEqual(expected)
        const { reverse: _reverse, limit: _limit, ...bounds } = asked
        const blocks = await collect(archive.blocks(manifest.id, bounds))
        const inBounds = new Set(
          [...backend.scanSync(bounds)].map(([each]) => Buffer.from(each).toString('hex')),
        )
        const expectedBlocks = all.filter((each) => inBounds.has(Buffer.from(each.key).toString('hex')))
        expect(shown(entriesOf(blocks))).toEqual(shown(expectedBlocks))
        await using reader = await archive.open(manifest.id)
        for (const each of segments.flat().slice(0, 20)) {
          const found = all.find((other) => compareBytes(other.key, each.key) === 0)
          expect(await reader.get(each.key)).toEqual(found?.value)
        }
        await backend.close()
      }),
      { runs: runs(500, 30) },
    )
  })

  it('differs between two checkpoints exactly where they do', async () => {
    await onRandomRuns(
      fc.asyncProperty(checkpoint, checkpoint, async (before, after) => {
        const { storage, manifest } = await storedCheckpoint(before, 40)
        const other = await storedCheckpoint(after, 40, storage, 10)
        const archive = new CheckpointArchive(storage)
        const one = new Map(shownByKey(model(before)))
        const two = new Map(shownByKey(model(after)))
        const expected = [...new Set([...one.keys(), ...two.keys()])]
          .sort()
          .filter((each) => one.get(each) !== two.get(each))
          .map((each) => `${one.has(each) ? (two.has(each) ? 'changed' : 'removed') : 'added'} ${each}`)
        const found = await collect(archive.diff(manifest.id, other.manifest.id))
        expect(found.map(({ kind, key: each }) => `${kind} ${Buffer.from(each).toString('hex')}`)).toEqual(
          expected,
        )
      }),
      { runs: runs(300, 20) },
    )
  })
})

function shownByKey(entries: readonly TestEntry[]): [string, string][] {
  return entries.map((each) => [Buffer.from(each.key).toString('hex'), shown([each]).join()])
}

function abortable(): { signal: AbortSignal; abort: () => void } {
  const controller = new AbortController()
  return { signal: controller.signal, abort: () => controller.abort() }
}

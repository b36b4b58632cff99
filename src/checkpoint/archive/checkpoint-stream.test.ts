import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  bytesIn,
  bytesOf,
  collect,
  entriesOf,
  entry,
  shown,
  sortedEntries,
  type TestEntry,
} from '../../../test/support/checkpoints.js'
import { farAway } from '../../../test/support/far-storage.js'
import { runs } from '../../../test/support/long.js'
import { onRandomRuns } from '../../../test/support/random-runs.js'
import { storedCheckpoint } from '../../../test/support/stored-checkpoint.js'
import type { KeyStretch } from '../../backend/scan-range.js'
import { compareBytes } from '../../base/bytes.js'
import { isStateError } from '../../base/errors.js'
import { crc32 } from '../../codec/checksum.js'
import type { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import type { Manifest } from '../format/manifest.js'
import { segmentName } from '../format/object-names.js'
import { FOOTER_BYTES } from '../format/segment-format.js'
import { CheckpointStream, type StreamOptions } from './checkpoint-stream.js'

const base = [entry('a', '1'), entry('b', '1'), entry('c', '1')]
const delta = [entry('b', undefined), entry('c', '2')]

async function read(
  { storage, manifest }: { storage: Pick<MemoryCheckpointStorage, 'open' | 'read'>; manifest: Manifest },
  options?: StreamOptions,
): Promise<TestEntry[]> {
  const stream = await CheckpointStream.open(storage, manifest, options)
  try {
    return entriesOf(await collect(stream))
  } finally {
    await stream.close()
  }
}

function isWithin({ key }: TestEntry, { from, until }: KeyStretch): boolean {
  return compareBytes(key, from) >= 0 && (until === undefined || compareBytes(key, until) < 0)
}

describe('the stream of a checkpoint', () => {
  it('is what base and deltas add up to', async () => {
    const entries = await read(await storedCheckpoint([base, delta]))
    expect(shown(entries)).toEqual(shown([entry('a', '1'), entry('c', '2')]))
  })

  it.each([1, 3, 5])('does not end when the manifest says %i entries', async (entryCount) => {
    const { storage, manifest } = await storedCheckpoint([base, delta])
    const wrong = { storage, manifest: { ...manifest, entryCount } }
    await expect(read(wrong)).rejects.toMatchObject({ code: 'CORRUPTION' })
  })

  it('does not open without one of its segments', async () => {
    const { storage, manifest } = await storedCheckpoint([base, delta])
    storage.tamper(segmentName(2, 'delta'), undefined)
    await expect(CheckpointStream.open(storage, manifest)).rejects.toMatchObject({
      code: 'CORRUPTION',
      details: { what: `segment ${segmentName(2, 'delta')}`, reason: 'it is missing' },
    })
  })
})

describe('the stream of a stretch of keys', () => {
  const key = fc.uint8Array({ maxLength: 3, max: 5 })
  const segment = fc
    .array(
      fc.record({
        key,
        value: fc.option(fc.uint8Array({ maxLength: 30 }), { nil: undefined, freq: 4 }),
        expiresAtMs: fc.constantFrom(Infinity, 1, 5),
      }),
      { maxLength: 60 },
    )
    .map(sortedEntries)
  const asBase = (entries: readonly TestEntry[]) =>
    entries.map((each) => ({ ...each, value: each.value ?? bytesOf('') }))
  const asDelta = (entries: readonly TestEntry[]) =>
    entries.map((each) => (each.value === undefined ? { ...each, expiresAtMs: Infinity } : each))

  it('is that part of the whole, for any checkpoint and stretch', async () => {
    const stretches = fc.record({ from: key, until: fc.option(key, { nil: undefined }) })
    await onRandomRuns(
      fc.asyncProperty(
        fc.array(segment, { minLength: 1, maxLength: 4 }),
        stretches,
        async (segments, stretch) => {
          const [first = [], ...others] = segments
          const checkpoint = await storedCheckpoint([asBase(first), ...others.map(asDelta)], 40)
          const expected = (await read(checkpoint)).filter((each) => isWithin(each, stretch))
          expect(shown(await read(checkpoint, { stretch }))).toEqual(shown(expected))
        },
      ),
      { runs: runs(1_000, 60) },
    )
  })

  it('reads no more than the blocks that overlap it', async () => {
    const entries = Array.from({ length: 1_000 }, (_, i) => entry(`k${i + 1_000}`, 'v'.repeat(1_000)))
    const { storage, manifest } = await storedCheckpoint([entries, entries.slice(500, 510)], 10_000)
    const far = farAway(storage)
    const stretch = { from: bytesOf('k1500'), until: bytesOf('k1505') }
    const found = await read({ storage: far.storage, manifest }, { stretch })
    expect(shown(found)).toEqual(shown(entries.slice(500, 505)))
    const sizeBytes = manifest.segments.reduce((sum, each) => sum + each.sizeBytes, 0)
    expect(far.bytesRead).toBeLessThan(0.05 * sizeBytes)
    expect([...far.hints.values()]).toEqual(['random', 'random'])
  })

  it('is right, or is CORRUPTION or INCOMPATIBLE, for every flipped byte of a segment', async () => {
    const entries = Array.from({ length: 12 }, (_, i) => entry(`k${i + 10}`, 'v'.repeat(40)))
    const checkpoint = await storedCheckpoint([entries])
    const { storage, manifest } = checkpoint
    const stretch = { from: bytesOf('k13'), until: bytesOf('k17') }
    const expected = shown(entries.slice(3, 7))
    const name = segmentName(1, 'base')
    const whole = await bytesIn(storage, name)
    let found = 0
    for (let position = 0; position < whole.length; position += runs(1, 3)) {
      const flipped = whole.slice()
      flipped[position] = (whole[position] as number) ^ 0x41
      storage.tamper(name, flipped)
      try {
        expect(shown(await read({ storage, manifest }, { stretch })), `byte ${position}`).toEqual(expected)
      } catch (error) {
        if (!isStateError(error, 'CORRUPTION') && !isStateError(error, 'INCOMPATIBLE')) throw error
        found++
      }
    }
    // Header, footer, the index, and the blocks that were read; damage elsewhere is not looked at.
    expect(found).toBeGreaterThan(runs(200, 66))
    expect(found).toBeLessThan(whole.length)
  })

  it.each<[string, (index: Uint8Array) => Uint8Array]>([
    ['leaves a block out', (index) => index.subarray(0, index.length - 27)],
    ['begins with the second block', (index) => index.subarray(27)],
    ['names a block twice', (index) => Buffer.concat([index.subarray(0, 27), index])],
    ['calls a key smaller than it is', (index) => withByte(index, index.length - 1, 0x31)],
    ['has a key too long', (index) => withByte(index, index.length - 6, 0xff)],
    ['has another entry count', (index) => withByte(index, 16, 9)],
    ['ends in the middle of an entry', (index) => Buffer.concat([index, new Uint8Array(5)])],
  ])('does not believe an index whose checksum holds, and that %s', async (_what, change) => {
    const entries = Array.from({ length: 8 }, (_, i) => entry(`k${i + 10}`, 'v'.repeat(40)))
    const { storage, manifest } = await storedCheckpoint([entries], 200)
    const name = segmentName(1, 'base')
    const whole = await bytesIn(storage, name)
    const view = new DataView(whole.buffer, whole.length - FOOTER_BYTES)
    const indexOffset = Number(view.getBigUint64(0, true))
    const index = change(whole.slice(indexOffset, whole.length - FOOTER_BYTES))
    const footer = whole.slice(whole.length - FOOTER_BYTES)
    const changed = new DataView(footer.buffer)
    changed.setBigUint64(8, BigInt(index.length), true)
    changed.setUint32(44, crc32(index), true)
    changed.setUint32(52, crc32(footer.subarray(0, 52)), true)
    const liar = Buffer.concat([whole.subarray(0, indexOffset), index, footer])
    storage.tamper(name, liar)
    const segments = manifest.segments.map((each) => ({ ...each, sizeBytes: liar.length }))
    const stretch = { from: bytesOf('k10'), until: undefined }
    await expect(read({ storage, manifest: { ...manifest, segments } }, { stretch })).rejects.toMatchObject({
      code: 'CORRUPTION',
    })
  })
})

describe('a storage far away', () => {
  const entries = Array.from({ length: 64 }, (_, i) => entry(`k${i + 100}`, 'v'.repeat(64 * 1024)))

  it('costs a round trip for several blocks, with several reads in flight', async () => {
    const { storage, manifest } = await storedCheckpoint([entries], 64 * 1024)
    const far = farAway(storage)
    expect(await read({ storage: far.storage, manifest })).toHaveLength(64)
    // Four of what lies between header and footer, and the footer beside the first of them.
    expect(far.mostInFlight).toBe(5)
    expect(far.roundTrips).toBeLessThanOrEqual(5)
    expect([...far.hints.values()]).toEqual(['sequential'])
  })

  it('is opened in a few round trips, however long the chain', async () => {
    const deltas = Array.from({ length: 16 }, (_, i) => [entry(`k${i + 100}`, 'new')])
    const { storage, manifest } = await storedCheckpoint([entries.slice(0, 4), ...deltas], 64 * 1024)
    const far = farAway(storage)
    expect(await read({ storage: far.storage, manifest })).toHaveLength(16)
    expect(far.roundTrips).toBeLessThanOrEqual(9)
  })

  it('costs three round trips for a stretch: to open it, for its index, and for its blocks', async () => {
    const { storage, manifest } = await storedCheckpoint([entries], 64 * 1024)
    const far = farAway(storage)
    const stretch = { from: bytesOf('k110'), until: bytesOf('k130') }
    expect(await read({ storage: far.storage, manifest }, { stretch })).toHaveLength(20)
    expect(far.roundTrips).toBeLessThanOrEqual(5)
  })
})

function withByte(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const changed = bytes.slice()
  changed[at] = value
  return changed
}

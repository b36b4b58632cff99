import { describe, expect, it, onTestFinished } from 'vitest'
import {
  asOwner,
  blocksOf,
  bytesIn,
  entry,
  readTestSegment,
  shown,
  sortedEntries,
  type TestEntry,
  writeTestSegment,
} from '../../../test/support/checkpoints.js'
import { runs } from '../../../test/support/long.js'
import { seededRandom } from '../../base/random.js'
import { blockCodec, type CodecName } from '../../codec/block-codec.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { mergeSegments } from './merge-segments.js'
import { SegmentReader } from './segment-reader.js'
import { SegmentWriter } from './segment-writer.js'

const BASE = 'chk-0000000001.base.segment'
const DELTA = 'chk-0000000002.delta.segment'
const MERGED = 'chk-0000000002.merged.segment'
const BLOCK_BYTES = 500
const NOW_MS = 100

function numbered(i: number, value = `value ${i}`, expiresAtMs = Infinity): TestEntry {
  return entry(`key ${String(i).padStart(4, '0')}`, value, expiresAtMs)
}

const entries = Array.from({ length: 1_000 }, (_, i) => numbered(i))

/** Merges a base and a delta as segments, and tells how many blocks were compressed and what came of it. */
async function merge(
  base: readonly TestEntry[],
  changes: readonly TestEntry[],
  codec: CodecName = 'lz4',
  damage: (storage: MemoryCheckpointStorage) => Promise<void> = async () => {},
) {
  const storage = new MemoryCheckpointStorage()
  const expected = [
    await writeTestSegment(storage, BASE, blocksOf(base, BLOCK_BYTES), 'lz4'),
    await writeTestSegment(storage, DELTA, blocksOf(changes, BLOCK_BYTES), 'lz4', 'delta'),
  ]
  await damage(storage)
  const readers = await Promise.all(
    [BASE, DELTA].map(async (name, i) => {
      const object = await storage.open(name)
      if (object === undefined) throw new Error(`there is no ${name}`)
      onTestFinished(() => object.close())
      return await SegmentReader.open(object, name, expected[i])
    }),
  )
  let compressed = 0
  const usual = blockCodec(codec)
  const counting = {
    ...usual,
    compress: (raw: Uint8Array) => {
      compressed++
      return usual.compress(raw)
    },
  }
  const blocks = { before: (await readers[0]?.index())?.blocks.length ?? 0 }
  const totals = await asOwner(storage, async (lease) => {
    const output = await lease.create(MERGED)
    const writer = new SegmentWriter(output, counting, 'base')
    const streams = readers.map((reader) => reader.blocks())
    for await (const block of mergeSegments(streams, BLOCK_BYTES, NOW_MS)) await writer.append(block)
    const finished = await writer.finish()
    await output.commit()
    return finished
  })
  const merged = await readTestSegment(storage, MERGED, { ...totals, role: 'base' })
  return { compressed, blocks, merged: shown(merged), bytes: await bytesIn(storage, MERGED), storage }
}

function applied(base: readonly TestEntry[], changes: readonly TestEntry[]): string[] {
  const all = sortedEntries([...base, ...changes])
  return shown(all.filter(({ value, expiresAtMs }) => value !== undefined && expiresAtMs > NOW_MS))
}

describe('merging segments', () => {
  it('takes blocks that no delta touches over as they are stored', async () => {
    const changes = [numbered(500, 'changed'), numbered(501, undefined)]
    const { compressed, blocks, merged, bytes, storage } = await merge(entries, changes)
    expect(merged).toEqual(applied(entries, changes))
    expect(blocks.before).toBeGreaterThan(40)
    expect(compressed).toBeLessThanOrEqual(2)
    // Up to the first block that is touched, both files are the same.
    const before = Buffer.from(await bytesIn(storage, BASE))
    const half = Math.floor(before.length * 0.4)
    expect(Buffer.compare(before.subarray(0, half), bytes.subarray(0, half))).toBe(0)
  })

  it('does so again behind what has grown and what has shrunk', async () => {
    const grown = [numbered(100, 'x'.repeat(700)), entry('key 0300+', 'new'), entry('key 0300++', 'new')]
    const gone = Array.from({ length: 17 }, (_, i) => numbered(600 + i, undefined))
    const changes = sortedEntries([...grown, ...gone])
    const { compressed, merged } = await merge(entries, changes)
    expect(merged).toEqual(applied(entries, changes))
    expect(compressed).toBeLessThanOrEqual(8)
  })

  it('compresses all of them anew for another codec', async () => {
    const { compressed, blocks, merged } = await merge(entries, [], 'gzip')
    expect(merged).toEqual(applied(entries, []))
    expect(compressed).toBe(blocks.before)
  })

  it('leaves out what has expired in a block that no delta touches', async () => {
    const expiring = entries.map((each, i) => (i === 400 ? { ...each, expiresAtMs: NOW_MS } : each))
    const { compressed, merged } = await merge(expiring, [])
    expect(merged).toEqual(applied(expiring, []))
    expect(merged).toHaveLength(entries.length - 1)
    expect(compressed).toBeLessThanOrEqual(2)
  })

  it('fails where a block that would be taken over is damaged', async () => {
    const damage = async (storage: MemoryCheckpointStorage) => {
      const bytes = (await bytesIn(storage, BASE)).slice()
      bytes[bytes.length >>> 1] = (bytes[bytes.length >>> 1] as number) ^ 1
      storage.tamper(BASE, bytes)
    }
    await expect(merge(entries, [numbered(1, 'changed')], 'lz4', damage)).rejects.toMatchObject({
      code: 'CORRUPTION',
    })
  })

  it('comes to the same, whatever changes', async () => {
    const random = seededRandom(11)
    const upTo = (limit: number) => Math.floor(random() * limit)
    for (let round = 0; round < runs(60, 15); round++) {
      const some = entries
        .filter(() => random() < 0.9)
        .map((each) => (random() < 0.01 ? { ...each, expiresAtMs: 90 + upTo(20) } : each))
      const changes = sortedEntries(
        Array.from({ length: upTo(40) }, () => {
          const what = upTo(3)
          const value = what === 0 ? undefined : 'x'.repeat(upTo(what === 1 ? 30 : 900))
          return numbered(upTo(1_100), value, value !== undefined && upTo(4) === 0 ? 90 + upTo(20) : Infinity)
        }),
      )
      const { merged } = await merge(some, changes)
      expect(merged).toEqual(applied(some, changes))
    }
  })
})

import { describe, expect, it } from 'vitest'
import {
  blocksOf,
  collect,
  entriesOf,
  entry,
  shown,
  writeTestSegment,
} from '../../../test/support/checkpoints.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import type { Manifest } from '../format/manifest.js'
import { checkpointId, segmentName } from '../format/object-names.js'
import { CheckpointStream } from './checkpoint-stream.js'

const base = [entry('a', '1'), entry('b', '1'), entry('c', '1')]
const delta = [entry('b', undefined), entry('c', '2')]

async function incremental(): Promise<{ storage: MemoryCheckpointStorage; manifest: Manifest }> {
  const storage = new MemoryCheckpointStorage()
  const first = segmentName(1, 'base')
  const second = segmentName(2, 'delta')
  const segments = [
    { name: first, ...(await writeTestSegment(storage, first, blocksOf(base))) },
    { name: second, ...(await writeTestSegment(storage, second, blocksOf(delta), 'none', 'delta')) },
  ]
  const manifest: Manifest = {
    id: checkpointId(2),
    sequence: 2,
    createdAt: new Date(0),
    kind: 'incremental',
    savepoint: false,
    validated: true,
    backend: 'model',
    compression: 'none',
    clockMs: 0,
    entryCount: 2,
    segments,
    holdfast: '0.1.0',
  }
  return { storage, manifest }
}

describe('the stream of a checkpoint', () => {
  it('is what base and deltas add up to', async () => {
    const { storage, manifest } = await incremental()
    const stream = await CheckpointStream.open(storage, manifest, undefined)
    expect(shown(entriesOf(await collect(stream)))).toEqual(shown([entry('a', '1'), entry('c', '2')]))
    await stream.close()
  })

  it.each([1, 3, 5])('does not end when the manifest says %i entries', async (entryCount) => {
    const { storage, manifest } = await incremental()
    const stream = await CheckpointStream.open(storage, { ...manifest, entryCount }, undefined)
    await expect(collect(stream)).rejects.toMatchObject({ code: 'CORRUPTION' })
    await stream.close()
  })

  it('does not open without one of its segments', async () => {
    const { storage, manifest } = await incremental()
    storage.tamper(segmentName(2, 'delta'), undefined)
    await expect(CheckpointStream.open(storage, manifest, undefined)).rejects.toMatchObject({
      code: 'CORRUPTION',
      details: { what: `segment ${segmentName(2, 'delta')}`, reason: 'it is missing' },
    })
  })
})

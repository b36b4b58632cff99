import { expect, it } from 'vitest'
import { asOwner, blocksOf, entry, streamOf } from '../../../test/support/checkpoints.js'
import { threadCodec } from '../../codec/block-codec.js'
import type { ObjectStorage, StorageLease } from '../../storage/checkpoint-storage.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { type JobTools, type SegmentTask, writeSegment } from './segment-jobs.js'

const NAME = 'chk-0000000001.base.segment'

function toolsFor(storage: MemoryCheckpointStorage, create: ObjectStorage['create']): JobTools {
  return {
    storage: {
      create,
      open: (name) => storage.open(name),
      read: (name, maxBytes) => storage.read(name, maxBytes),
    },
    codecOf: (name) => threadCodec(name, true),
    writingCodecOf: (name) => threadCodec(name, true),
    signal: new AbortController().signal,
    onCommitted: () => {},
    onLeftover: (leftover) => {
      throw new Error(`left over: ${leftover.what}`)
    },
  }
}

function taskOf(blocks: SegmentTask['blocks']): SegmentTask {
  return { name: NAME, role: 'base', codec: 'none', maxSizeBytes: Infinity, blocks }
}

async function owned(work: (storage: MemoryCheckpointStorage, lease: StorageLease) => Promise<void>) {
  const storage = new MemoryCheckpointStorage()
  await asOwner(storage, (lease) => work(storage, lease))
}

it('blocks are gathered while their object is being begun', async () => {
  await owned(async (storage, lease) => {
    let asked: () => void = () => {}
    const gathering = new Promise<void>((resolve) => {
      asked = resolve
    })
    const tools = toolsFor(storage, async (name) => {
      await gathering
      return await lease.create(name)
    })
    const segment = await writeSegment(
      tools,
      taskOf(() => {
        asked()
        return streamOf(blocksOf([entry('a', '1')]))
      }),
    )
    expect(segment?.entryCount).toBe(1)
    expect((await storage.list()).map(({ name }) => name)).toEqual([NAME])
  })
})

it('an object that cannot be begun fails the segment', async () => {
  await owned(async (storage) => {
    const tools = toolsFor(storage, () => Promise.reject(new Error('too many open files')))
    const writing = writeSegment(
      tools,
      taskOf(() => streamOf(blocksOf([entry('a', '1')]))),
    )
    await expect(writing).rejects.toThrow('too many open files')
  })
})

it('blocks that cannot be read leave no object that was still being begun', async () => {
  await owned(async (storage, lease) => {
    let begin: () => void = () => {}
    const allowed = new Promise<void>((resolve) => {
      begin = resolve
    })
    let aborted = 0
    const tools = toolsFor(storage, async (name) => {
      await allowed
      const writer = await lease.create(name)
      return {
        write: (bytes) => writer.write(bytes),
        commit: () => writer.commit(),
        abort: async () => {
          aborted++
          await writer.abort()
        },
      }
    })
    const failing = (async function* () {
      yield* blocksOf([entry('a', '1')])
      begin()
      throw new Error('the snapshot is gone')
    })()
    await expect(
      writeSegment(
        tools,
        taskOf(() => failing),
      ),
    ).rejects.toThrow('the snapshot is gone')
    expect(aborted).toBe(1)
    expect(await storage.list()).toEqual([])
  })
})

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

it('bytes are made durable while the commit is not allowed yet', async () => {
  await owned(async (storage, lease) => {
    const done: string[] = []
    let prepared: () => void = () => {}
    const durable = new Promise<void>((resolve) => {
      prepared = resolve
    })
    const tools = toolsFor(storage, async (name) => {
      const writer = await lease.create(name)
      return {
        write: (bytes) => writer.write(bytes),
        prepare: async () => {
          done.push('prepared')
          prepared()
        },
        commit: async () => {
          done.push('committed')
          await writer.commit()
        },
        abort: () => writer.abort(),
      }
    })
    const task = taskOf(() => streamOf(blocksOf([entry('a', '1')])))
    const commitAllowed = async () => {
      await durable
      done.push('allowed')
    }
    await writeSegment(tools, { ...task, commitAllowed })
    expect(done).toEqual(['prepared', 'allowed', 'committed'])
  })
})

it('bytes that cannot be made durable fail the segment, though its commit is never allowed', async () => {
  await owned(async (storage, lease) => {
    const tools = toolsFor(storage, async (name) => {
      const writer = await lease.create(name)
      return {
        write: (bytes) => writer.write(bytes),
        prepare: () => Promise.reject(new Error('the disk is full')),
        commit: () => writer.commit(),
        abort: () => writer.abort(),
      }
    })
    const task = taskOf(() => streamOf(blocksOf([entry('a', '1')])))
    const writing = writeSegment(tools, { ...task, commitAllowed: () => new Promise(() => {}) })
    await expect(writing).rejects.toThrow('the disk is full')
    expect(await storage.list()).toEqual([])
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

it('a codec that is not to be had begins no object', async () => {
  await owned(async (storage, lease) => {
    let begun = 0
    const tools = toolsFor(storage, (name) => {
      begun++
      return lease.create(name)
    })
    const withoutCodec: JobTools = {
      ...tools,
      writingCodecOf: () => {
        throw new Error('no such codec')
      },
    }
    const writing = writeSegment(
      withoutCodec,
      taskOf(() => streamOf(blocksOf([entry('a', '1')]))),
    )
    await expect(writing).rejects.toThrow('no such codec')
    expect(begun).toBe(0)
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

/** Blocks of more than what is handed to a storage in one call, one after the other; tells of each that is asked for. */
async function* largeBlocks(count: number, onAsked: (number: number) => void) {
  for (let i = 0; i < count; i++) {
    onAsked(i)
    yield* blocksOf([entry(`key-${i}`, 'v'.repeat(300_000))])
  }
}

it('the next blocks are gathered while the storage takes those before them', async () => {
  await owned(async (storage, lease) => {
    const asked: number[] = []
    const askedAtWrites: number[] = []
    let goOn: () => void = () => {}
    const tools = toolsFor(storage, async (name) => {
      const writer = await lease.create(name)
      return {
        write: async (bytes) => {
          const before = asked.length
          // The first call ends when one block more than there were was asked for.
          if (askedAtWrites.length === 0)
            await new Promise<void>((resolve) => {
              goOn = resolve
            })
          askedAtWrites.push(asked.length - before)
          await writer.write(bytes)
        },
        commit: () => writer.commit(),
        abort: () => writer.abort(),
      }
    })
    // As many as are compressed ahead, the one that has the first of them written, and one more.
    const blocks = largeBlocks(9, (number) => {
      asked.push(number)
      if (number === 5) goOn()
    })
    const segment = await writeSegment(
      tools,
      taskOf(() => blocks),
    )
    expect(segment?.entryCount).toBe(9)
    expect(askedAtWrites[0]).toBe(1)
  })
})

it('a write that fails while blocks are gathered fails the segment, and leaves no object', async () => {
  await owned(async (storage, lease) => {
    let writes = 0
    let aborted = 0
    const tools = toolsFor(storage, async (name) => {
      const writer = await lease.create(name)
      return {
        write: async (bytes) => {
          if (++writes === 2) throw new Error('no space left')
          await writer.write(bytes)
        },
        commit: () => writer.commit(),
        abort: async () => {
          aborted++
          await writer.abort()
        },
      }
    })
    for (const count of [2, 9]) {
      writes = 0
      const writing = writeSegment(
        tools,
        taskOf(() => largeBlocks(count, () => {})),
      )
      await expect(writing).rejects.toThrow('no space left')
    }
    expect(aborted).toBe(2)
    expect(await storage.list()).toEqual([])
  })
})

it('blocks that cannot be read any more leave no object, which is not thrown away before the storage has taken what it was handed', async () => {
  await owned(async (storage, lease) => {
    const calls: string[] = []
    const tools = toolsFor(storage, async (name) => {
      const writer = await lease.create(name)
      return {
        write: async (bytes) => {
          await writer.write(bytes)
          await new Promise((resolve) => setTimeout(resolve, 5))
          calls.push('written')
        },
        commit: () => writer.commit(),
        abort: async () => {
          calls.push('thrown away')
          await writer.abort()
        },
      }
    })
    async function* unreadable() {
      yield* largeBlocks(5, () => {})
      throw new Error('the state cannot be read')
    }
    const writing = writeSegment(tools, taskOf(unreadable))
    await expect(writing).rejects.toThrow('the state cannot be read')
    expect(calls).toEqual(['written', 'thrown away'])
    expect(await storage.list()).toEqual([])
  })
})

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { bytesOf, patchLeases } from '../../../test/support/checkpoints.js'
import { shutDownAfterTest } from '../../../test/support/coordinator-bench.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import type { ObjectWriter, StorageLease } from '../../storage/checkpoint-storage.js'
import { FileCheckpointStorage } from '../../storage/file-checkpoint-storage.js'
import { parseSequence, type SequenceState } from '../format/sequence-file.js'
import { silentLogger } from '../types.js'
import { CheckpointWorker } from '../worker/checkpoint-worker.js'
import { CheckpointCoordinator } from './checkpoint-coordinator.js'
import type { CheckpointCoordinatorOptions } from './coordinator-options.js'

interface PublicationBench {
  readonly coordinator: CheckpointCoordinator
  /** What lies in the directory, those files left out that are of the owner. */
  names(): Promise<string[]>
  sequence(): Promise<SequenceState>
}

/** `begun` may change what is called of an object; it is told the object's name. */
async function bench(
  begun: (name: string, writer: ObjectWriter) => ObjectWriter | Promise<ObjectWriter>,
  options: Pick<CheckpointCoordinatorOptions, 'maxSilenceMs' | 'logger'> = {},
  change: (lease: StorageLease) => void = () => {},
): Promise<PublicationBench> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-publication-'))
  onTestFinished(async () => await rm(directory, { recursive: true, force: true }))
  const storage = new FileCheckpointStorage(directory)
  patchLeases(storage, (lease) => {
    const create = lease.create.bind(lease)
    lease.create = async (name) => await begun(name, await create(name))
    change(lease)
  })
  const backend = new MemoryStateBackend()
  await backend.put(bytesOf('key'), bytesOf('value'))
  // Without a thread, every call of the storage is one of the lease here.
  const worker = new CheckpointWorker({ thread: false })
  const coordinator = new CheckpointCoordinator(backend, { storage, worker, ...options })
  shutDownAfterTest(coordinator)
  const names = async () =>
    (await readdir(directory)).filter((name) => !/^(sequence|.*lease.*)$/.test(name)).sort()
  const sequence = async () => parseSequence(await readFile(join(directory, 'sequence')))
  return { coordinator, names, sequence }
}

const isManifest = (name: string) => name.endsWith('.manifest')

/** Resolves when the manifest is prepared: the writers of a storage are told apart by their names. */
function whenPrepared(): {
  readonly prepared: Promise<void>
  readonly watch: (writer: ObjectWriter) => ObjectWriter
} {
  let note: () => void = () => {}
  const prepared = new Promise<void>((resolve) => {
    note = resolve
  })
  const watch = (writer: ObjectWriter): ObjectWriter => ({
    write: (bytes) => writer.write(bytes),
    prepare: async () => {
      await writer.prepare?.()
      note()
    },
    commit: () => writer.commit(),
    abort: () => writer.abort(),
  })
  return { prepared, watch }
}

it('a manifest is made durable while its segment has not been committed yet, and gets its name behind it', async () => {
  const { prepared, watch } = whenPrepared()
  const committed: string[] = []
  const { coordinator, names } = await bench((name, writer) => {
    const known = isManifest(name) ? watch(writer) : writer
    return {
      write: (bytes) => known.write(bytes),
      prepare: async () => await known.prepare?.(),
      commit: async () => {
        await prepared
        await known.commit()
        committed.push(name)
      },
      abort: () => known.abort(),
    }
  })
  await coordinator.createCheckpoint()
  expect(committed).toEqual(['chk-0000000001.base.segment', 'chk-0000000001.manifest'])
  expect(await names()).toEqual(['chk-0000000001.base.segment', 'chk-0000000001.manifest'])
})

it('a manifest that is ready when its segment cannot be committed is thrown away', async () => {
  const { prepared, watch } = whenPrepared()
  const { coordinator, names } = await bench((name, writer) => {
    if (isManifest(name)) return watch(writer)
    const commit = async () => {
      await prepared
      throw new Error('the disk is full')
    }
    return { write: (bytes) => writer.write(bytes), commit, abort: () => writer.abort() }
  })
  await expect(coordinator.createCheckpoint()).rejects.toMatchObject({ code: 'CHECKPOINT_FAILED' })
  expect(await names()).toEqual([])
})

it('a manifest that cannot be begun fails its checkpoint, whose segment is removed', async () => {
  const { coordinator, names } = await bench(async (name, writer) => {
    if (!isManifest(name)) return writer
    await writer.abort()
    throw new Error('too many open files')
  })
  await expect(coordinator.createCheckpoint()).rejects.toMatchObject({
    code: 'CHECKPOINT_FAILED',
    message: expect.stringContaining('too many open files'),
  })
  expect(await names()).toEqual([])
})

it.each(['prepare', 'commit'] as const)(
  'the failure of %s is what a checkpoint fails with where its manifest cannot be thrown away either, whose abort throws at once',
  async (step) => {
    const { coordinator, names } = await bench((name, writer) => {
      if (!isManifest(name)) return writer
      const fail = async () => {
        await writer.abort()
        throw new Error('the disk is full')
      }
      const abort = () => {
        throw new Error('there is no abort')
      }
      return {
        write: (bytes) => writer.write(bytes),
        prepare: async () => await writer.prepare?.(),
        commit: () => writer.commit(),
        [step]: fail,
        abort,
      }
    })
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({
      code: 'CHECKPOINT_FAILED',
      message: expect.stringContaining('the disk is full'),
    })
    expect(await names()).toEqual([])
  },
)

describe('the note behind a manifest', () => {
  const asItIs = (_: string, writer: ObjectWriter): ObjectWriter => writer

  it('is made durable before the manifest has its name, and gets its own behind it', async () => {
    const done: string[] = []
    let note: () => void = () => {}
    const prepared = new Promise<void>((resolve) => {
      note = resolve
    })
    const { coordinator, sequence } = await bench(
      (name, writer) => ({
        write: (bytes) => writer.write(bytes),
        prepare: async () => await writer.prepare?.(),
        commit: async () => {
          if (isManifest(name)) await prepared
          await writer.commit()
          done.push(isManifest(name) ? 'manifest' : 'segment')
        },
        abort: () => writer.abort(),
      }),
      {},
      (lease) => {
        const prepareReplace = lease.prepareReplace?.bind(lease)
        lease.prepareReplace = async (name, bytes) => {
          const replacement = await prepareReplace?.(name, bytes)
          if (replacement === undefined) throw new Error('files can be prepared')
          note()
          const commit = async () => {
            await replacement.commit()
            done.push(name)
          }
          return { commit, abort: () => replacement.abort() }
        }
      },
    )
    await coordinator.createCheckpoint()
    expect(done).toEqual(['segment', 'manifest', 'sequence'])
    expect(await sequence()).toEqual({ reserved: 1, published: 1, newest: 1 })
  })

  it('is thrown away with the manifest', async () => {
    let note: () => void = () => {}
    const prepared = new Promise<void>((resolve) => {
      note = resolve
    })
    const { coordinator, names, sequence } = await bench(
      (name, writer) => {
        if (isManifest(name)) return writer
        const commit = async () => {
          await prepared
          throw new Error('the disk is full')
        }
        return { write: (bytes) => writer.write(bytes), commit, abort: () => writer.abort() }
      },
      {},
      (lease) => {
        const prepareReplace = lease.prepareReplace?.bind(lease)
        lease.prepareReplace = async (name, bytes) => {
          const replacement = await prepareReplace?.(name, bytes)
          if (replacement === undefined) throw new Error('files can be prepared')
          note()
          return replacement
        }
      },
    )
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({ code: 'CHECKPOINT_FAILED' })
    expect(await names()).toEqual([])
    expect(await sequence()).toEqual({ reserved: 1, published: 0, newest: 0 })
  })

  it('that cannot be written ahead is told of, and written in its turn; where that fails too, the next checkpoint makes up for it', async () => {
    const warnings: unknown[] = []
    const logger = { ...silentLogger, warn: (fields: unknown) => warnings.push(fields) }
    let isFailing = false
    const { coordinator, sequence } = await bench(asItIs, { logger }, (lease) => {
      const replace = lease.replace.bind(lease)
      lease.prepareReplace = async () => {
        throw new Error('too many open files')
      }
      lease.replace = async (name, bytes) => {
        const isNote = parseSequence(bytes).published === parseSequence(bytes).reserved
        if (isFailing && isNote) throw new Error('the disk is full')
        await replace(name, bytes)
      }
    })
    await coordinator.createCheckpoint()
    expect(await sequence()).toEqual({ reserved: 1, published: 1, newest: 1 })
    const notAhead = { reason: expect.stringContaining('too many open files') }
    expect(warnings).toMatchObject([notAhead])
    isFailing = true
    await coordinator.createCheckpoint()
    expect(await sequence()).toEqual({ reserved: 2, published: 1, newest: 1 })
    const notAtAll = { reason: expect.stringContaining('the disk is full') }
    expect(warnings).toMatchObject([notAhead, notAhead, notAtAll])
    isFailing = false
    await coordinator.createCheckpoint()
    expect(await sequence()).toEqual({ reserved: 3, published: 3, newest: 3 })
    expect(warnings).toHaveLength(4)
  })
})

describe('where a manifest that is prepared never comes to an end,', () => {
  /** Of the segment, `commit` is what is given. */
  async function hangingBench(commit: (writer: ObjectWriter) => Promise<void>) {
    let begin: () => void = () => {}
    const hangs = new Promise<void>((resolve) => {
      begin = resolve
    })
    // Their files are closed at the end, behind the checkpoint of the last shutdown: when the memory is collected is too late.
    const hanging: (() => Promise<void>)[] = []
    onTestFinished(async () => {
      await Promise.allSettled(hanging.map((abort) => abort()))
    })
    const made = await bench(
      (name, writer) => {
        const { write, abort } = { write: writer.write.bind(writer), abort: writer.abort.bind(writer) }
        if (!isManifest(name))
          return { write, abort, commit: async () => await hangs.then(() => commit(writer)) }
        hanging.push(abort)
        const prepare = () => {
          begin()
          return new Promise<never>(() => {})
        }
        return { write, abort, prepare, commit: () => writer.commit() }
      },
      { maxSilenceMs: 50 },
      (lease) => {
        const prepareReplace = lease.prepareReplace?.bind(lease)
        if (prepareReplace === undefined) throw new Error('files can be prepared')
        lease.prepareReplace = async (name, bytes) => {
          const replacement = await prepareReplace(name, bytes)
          hanging.push(() => replacement.abort())
          return replacement
        }
      },
    )
    return { ...made, hangs }
  }

  const fails = async (writer: ObjectWriter) => {
    await writer.abort()
    throw new Error('the disk is full')
  }

  it.each([
    ['is whole', (writer: ObjectWriter) => writer.commit(), /^ABORTED$/],
    // It has failed before its signal fired, or so it may be: which of the two waits for silence first, the machine decides.
    ['has failed', fails, /^(ABORTED|CHECKPOINT_FAILED)$/],
  ])(
    'and its segment %s, the checkpoint ends by its signal, and by shutdown',
    async (_, commit, bySignal) => {
      for (const ending of ['signal', 'shutdown'] as const) {
        const { coordinator, hangs } = await hangingBench(commit)
        const controller = new AbortController()
        const made = coordinator.createCheckpoint({ signal: controller.signal })
        made.catch(() => {})
        await hangs
        if (ending === 'signal') controller.abort()
        await expect(coordinator.shutdown()).rejects.toMatchObject({ code: 'CHECKPOINT_FAILED' })
        await expect(made).rejects.toMatchObject({
          code: ending === 'signal' ? expect.stringMatching(bySignal) : 'CHECKPOINT_FAILED',
        })
      }
    },
  )

  it('the failure of its segment is told all the same', async () => {
    const { coordinator } = await hangingBench(fails)
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({
      code: 'CHECKPOINT_FAILED',
      message: expect.stringContaining('the disk is full'),
    })
  })
})

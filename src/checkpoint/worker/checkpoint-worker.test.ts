import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterEach, describe, expect, it } from 'vitest'
import { bytesOf, namesIn, patchLeases } from '../../../test/support/checkpoints.js'
import { contentOf, put } from '../../../test/support/coordinator-bench.js'
import type { SharedSnapshot } from '../../backend/shared-snapshot.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { ModelStateBackend } from '../../testing/model-state-backend.js'
import { CheckpointCoordinator } from '../coordinator/checkpoint-coordinator.js'
import type { CheckpointCoordinatorOptions } from '../coordinator/coordinator-options.js'
import { CheckpointWorker } from './checkpoint-worker.js'

const open: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close().catch(() => {})
})

function workerToClose(): CheckpointWorker {
  const worker = new CheckpointWorker()
  open.push(() => worker.close())
  return worker
}

function bench(options: Partial<CheckpointCoordinatorOptions> = {}, backend = new ModelStateBackend()) {
  const storage = new MemoryCheckpointStorage()
  const coordinator = new CheckpointCoordinator(backend, { storage, ...options })
  open.push(() => coordinator.shutdown())
  return { coordinator, backend, storage }
}

/** A module that the thread loads. */
function moduleOf(text: string): string {
  return `data:text/javascript,${encodeURIComponent(text)}`
}

/** A model whose next snapshots are shared in that form. */
function sharing(backend: ModelStateBackend, shared: () => SharedSnapshot | undefined): ModelStateBackend {
  const taken = backend.snapshotSync.bind(backend)
  backend.snapshotSync = () => {
    const snapshot = taken()
    const usual = snapshot.share
    snapshot.share = (since) => shared() ?? usual?.(since)
    return snapshot
  }
  return backend
}

const dying = moduleOf('export async function openSharedSnapshot() { process.exit(7) }')
const throwing = moduleOf(
  'export async function openSharedSnapshot() { throw new RangeError("no such snapshot") }',
)
const wrong = moduleOf(`
  export async function openSharedSnapshot() {
    return { count: async () => 5, blocks: async function* () {}, close: async () => {} }
  }`)
const throwingLater = moduleOf(`
  export async function openSharedSnapshot() {
    setImmediate(() => { throw new Error('nobody catches this') })
    await new Promise(() => {})
  }`)

describe('a worker without a thread', () => {
  it('writes checkpoints that one with a thread restores, and starts none', async () => {
    const worker = new CheckpointWorker({ thread: false })
    open.push(() => worker.close())
    const { coordinator, backend, storage } = bench({ worker })
    await put(backend, 'a=1 b=2 c=3')
    await coordinator.createCheckpoint()
    await put(backend, 'd=4')
    const second = await coordinator.createCheckpoint()
    expect(process.getActiveResourcesInfo().filter((name) => name === 'Worker')).toEqual([])
    const other = bench({ storage })
    await other.coordinator.restore(second.id)
    expect(await contentOf(other.backend)).toBe(await contentOf(backend))
  })

  it('gives up when the signal fires, and refuses after close', async () => {
    const worker = new CheckpointWorker({ thread: false })
    const { coordinator, backend, storage } = bench({ worker })
    await put(backend, 'a=1')
    const controller = new AbortController()
    const making = coordinator.createCheckpoint({ signal: controller.signal })
    controller.abort()
    await expect(making).rejects.toMatchObject({ code: 'ABORTED' })
    expect(await namesIn(storage)).not.toContainEqual(expect.stringContaining('manifest'))
    await worker.close()
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({ code: 'CLOSED' })
    expect(() => new CheckpointWorker({ thread: 1 } as never)).toThrow('thread')
  })
})

describe('a worker that dies', () => {
  it.each([
    ['ends', dying, /ended with exit code 7/],
    ['fails', throwingLater, /nobody catches this/],
  ])(
    'because it %s fails the checkpoint at hand alone; the next one starts another',
    async (_, module, reason) => {
      let deadly = false
      const backend = sharing(new ModelStateBackend(), () =>
        deadly ? { module, data: undefined, transferList: [] } : undefined,
      )
      const { coordinator, storage } = bench({}, backend)
      await put(backend, 'a=1')
      await coordinator.createCheckpoint()
      const before = await namesIn(storage)
      deadly = true
      await expect(coordinator.createCheckpoint()).rejects.toMatchObject({
        code: 'CHECKPOINT_FAILED',
        message: expect.stringMatching(reason),
      })
      expect(await namesIn(storage)).toEqual(before)
      expect(backend.stats().openSnapshots).toBe(0)
      deadly = false
      await put(backend, 'b=2')
      await coordinator.createCheckpoint()
      await backend.clear()
      await coordinator.restoreLatest()
      expect(await contentOf(backend)).toBe('a=1 b=2')
    },
  )

  it('in the middle of a restore does not make it take an older checkpoint', async () => {
    const worker = workerToClose()
    const { coordinator, backend, storage } = bench({ worker })
    await put(backend, 'a=1')
    await coordinator.createCheckpoint()
    await put(backend, 'a=2')
    await coordinator.createCheckpoint()
    const read = storage.read.bind(storage)
    const killer = bench(
      { worker, incremental: false },
      sharing(new ModelStateBackend(), () => ({
        module: dying,
        data: undefined,
        transferList: [],
      })),
    )
    let killing: Promise<unknown> | undefined
    storage.read = async (name, maxBytes) => {
      if (name.endsWith('.segment')) {
        killing ??= killer.coordinator.createCheckpoint().catch(() => {})
        await killing
      }
      return await read(name, maxBytes)
    }
    const skipped: string[] = []
    coordinator.on('skipped', ({ id }) => skipped.push(id))
    await expect(coordinator.restoreLatest()).rejects.toMatchObject({
      code: 'RESTORE_FAILED',
      details: { checkpointId: 'chk-0000000002' },
    })
    expect(skipped).toEqual([])
    expect((await coordinator.restoreLatest())?.id).toBe('chk-0000000002')
  })
})

describe('what a job fails with', () => {
  it('is the error of the thread', async () => {
    const backend = sharing(new ModelStateBackend(), () => ({
      module: throwing,
      data: undefined,
      transferList: [],
    }))
    await expect(bench({}, backend).coordinator.createCheckpoint()).rejects.toMatchObject({
      code: 'CHECKPOINT_FAILED',
      cause: { name: 'RangeError', message: 'no such snapshot' },
    })
  })

  it('is a failed assertion where a snapshot does not hold what it says', async () => {
    const backend = sharing(new ModelStateBackend(), () => ({
      module: wrong,
      data: undefined,
      transferList: [],
    }))
    const { coordinator, storage } = bench({}, backend)
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({ cause: { name: 'AssertionError' } })
    expect((await namesIn(storage)).filter((name) => name.endsWith('.manifest'))).toEqual([])
  })

  it('is the very error of a storage on the main thread', async () => {
    const failure = new Error('disk on fire')
    const { coordinator, storage } = bench()
    patchLeases(storage, (lease) => {
      lease.create = () => Promise.reject(failure)
    })
    const error = await coordinator.createCheckpoint().catch((thrown: unknown) => thrown)
    expect((error as Error).cause).toBe(failure)
  })

  it('is the very error of a snapshot whose blocks are sent', async () => {
    const failure = new Error('cannot read')
    const backend = new ModelStateBackend()
    const taken = backend.snapshotSync.bind(backend)
    backend.snapshotSync = () =>
      Object.assign(taken(), {
        share: undefined,
        blocks: async function* () {
          yield* []
          throw failure
        },
      })
    const error = await bench({}, backend)
      .coordinator.createCheckpoint()
      .catch((thrown: unknown) => thrown)
    expect((error as Error).cause).toBe(failure)
    expect(backend.stats().openSnapshots).toBe(0)
  })
})

describe('a worker', () => {
  it('of several coordinators is closed by who made it', async () => {
    const worker = workerToClose()
    const first = bench({ worker })
    const second = bench({ worker })
    await put(first.backend, 'a=1')
    await put(second.backend, 'a=2')
    await Promise.all([first.coordinator.createCheckpoint(), second.coordinator.createCheckpoint()])
    await first.coordinator.shutdown()
    await second.coordinator.restoreLatest()
    expect(await contentOf(second.backend)).toBe('a=2')
    await worker.close()
    await worker.close()
    await expect(second.coordinator.createCheckpoint()).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(second.coordinator.restoreLatest()).rejects.toMatchObject({ code: 'CLOSED' })
  })

  it('starts with the coordinator, before there is anything to do', async () => {
    const worker = workerToClose()
    const { coordinator, backend } = bench({ worker })
    expect(worker.isReadyFor(undefined)).toBe(false)
    await coordinator.start()
    await expect.poll(() => worker.isReadyFor(backend.sharedModule)).toBe(true)
    expect(await coordinator.listCheckpoints()).toEqual([])
  })

  it('that is closed in the middle of a checkpoint fails it', async () => {
    const worker = workerToClose()
    const { coordinator, backend, storage } = bench({ worker })
    await put(backend, 'a=1')
    const read = storage.read.bind(storage)
    storage.read = async (name, maxBytes) => {
      if (name.endsWith('.segment')) await worker.close()
      return await read(name, maxBytes)
    }
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({ code: 'CLOSED' })
    expect(await namesIn(storage)).toEqual(['sequence'])
  })

  it('lets the process exit while it is idle, and while it merges', async () => {
    const script = `
      import { CheckpointCoordinator, MemoryCheckpointStorage } from 'holdfast'
      import { ModelStateBackend } from 'holdfast/testing'
      const backend = new ModelStateBackend()
      const storage = new MemoryCheckpointStorage()
      const acquire = storage.acquire.bind(storage)
      storage.acquire = async () => {
        const lease = await acquire()
        const create = lease.create.bind(lease)
        lease.create = (name) => name.includes('merged') ? new Promise(() => {}) : create(name)
        return lease
      }
      const coordinator = new CheckpointCoordinator(backend, { storage, maxDeltas: 1 })
      for (let i = 0; i < 50; i++) backend.putSync(Buffer.from('k' + i), Buffer.from('v' + i))
      for (let i = 0; i < 3; i++) await coordinator.createCheckpoint()
      console.log(coordinator.stats().merging)`
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
      cwd: import.meta.dirname,
      timeout: 120_000,
    })
    expect(stdout).toBe('true\n')
  })

  it('has loaded the module that is to read a snapshot before the snapshot is taken', async () => {
    const module = moduleOf(`
      await new Promise((resolve) => setTimeout(resolve, 50))
      export async function openSharedSnapshot() {
        return { count: async () => 0, blocks: async function* () {}, close: async () => {} }
      }`)
    const worker = workerToClose()
    const backend = sharing(new ModelStateBackend(), () => ({ module, data: undefined, transferList: [] }))
    Object.defineProperty(backend, 'sharedModule', { value: module })
    const taken = backend.snapshotSync.bind(backend)
    const loaded: boolean[] = []
    backend.snapshotSync = (options) => {
      loaded.push(worker.isReadyFor(module))
      return taken(options)
    }
    const { coordinator } = bench({ worker }, backend)
    for (let i = 0; i < 2; i++) await coordinator.createCheckpoint()
    expect(loaded).toEqual([true, true])
    await worker.close()
    expect(worker.isReadyFor(module)).toBe(false)
  })

  it('is ready for a module that does not load: the job that needs it says why', async () => {
    const module = moduleOf('throw new RangeError("no such module")')
    const worker = workerToClose()
    await worker.ready(module)
    expect(worker.isReadyFor(module)).toBe(true)
    const backend = sharing(new ModelStateBackend(), () => ({ module, data: undefined, transferList: [] }))
    await expect(bench({ worker }, backend).coordinator.createCheckpoint()).rejects.toMatchObject({
      code: 'CHECKPOINT_FAILED',
      cause: { name: 'RangeError', message: 'no such module' },
    })
  })

  it('must be one', () => {
    expect(() => bench({ worker: {} as CheckpointWorker })).toThrow(
      'options.worker must be a CheckpointWorker',
    )
  })

  it('gets blocks from snapshots that cannot be shared, more of them than are in flight', async () => {
    const backend = new ModelStateBackend()
    const taken = backend.snapshotSync.bind(backend)
    backend.snapshotSync = () => Object.assign(taken(), { share: undefined })
    const { coordinator } = bench({ compression: 'none' }, backend)
    for (let i = 0; i < 12; i++) backend.putSync(bytesOf(`k${i}`), new Uint8Array(1_500_000).fill(i))
    expect(await coordinator.createCheckpoint()).toMatchObject({ kind: 'full', entryCount: 12 })
    await backend.clear()
    await coordinator.restoreLatest()
    expect(backend.getSync(bytesOf('k11'))?.[1_499_999]).toBe(11)
  })

  it.each([{ workerShare: 0.3 }, { maxBytesPerSecond: 1e8 }])(
    'within limits does the same: %o',
    async (limits) => {
      const { coordinator, backend } = bench({ ...limits, compression: 'gzip' })
      await put(backend, 'a=1 b=2')
      await coordinator.createCheckpoint()
      await backend.clear()
      await coordinator.restoreLatest()
      expect(await contentOf(backend)).toBe('a=1 b=2')
    },
  )
})

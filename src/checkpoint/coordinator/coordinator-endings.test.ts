import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { bytesOf, patchLeases } from '../../../test/support/checkpoints.js'
import { bench as benchWith, put } from '../../../test/support/coordinator-bench.js'
import { runs } from '../../../test/support/long.js'
import type { StateBackend, SyncStateBackend } from '../../backend/state-backend.js'
import { StateError } from '../../base/errors.js'
import { LmdbStateBackend } from '../../lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import type {
  AcquireOptions,
  CheckpointStorage,
  ObjectReader,
  ObjectWriter,
} from '../../storage/checkpoint-storage.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { CheckpointWorker } from '../worker/checkpoint-worker.js'
import { CheckpointCoordinator } from './checkpoint-coordinator.js'

/** Where everything is to be given up: the sooner the better. */
const MAX_SILENCE_MS = 300
/** Where nothing is: a thread of a slow machine that does much else is heard from in that time. */
const PATIENT_SILENCE_MS = 1_600
const stuck = () => new Promise<never>(() => {})
const stuckReason = () => {
  throw new Error('not to be read')
}

const bench = (storage: MemoryCheckpointStorage) => benchWith({ maxSilenceMs: MAX_SILENCE_MS }, storage)

/** Replaces one call of a storage, or of what it hands out, by one that never settles. */
const calls: Readonly<Record<string, (storage: CheckpointStorage) => void>> = {
  acquire: (storage) => Object.assign(storage, { acquire: stuck }),
  list: (storage) => Object.assign(storage, { list: stuck }),
  read: (storage) => Object.assign(storage, { read: stuck }),
  open: (storage) => Object.assign(storage, { open: stuck }),
  'reader.read': (storage) => patchReaders(storage, (reader) => Object.assign(reader, { read: stuck })),
  'reader.close': (storage) => patchReaders(storage, (reader) => Object.assign(reader, { close: stuck })),
  'lease.replace': (storage) =>
    patchLeases(storage, (lease) => void Object.assign(lease, { replace: stuck })),
  'lease.create': (storage) => patchLeases(storage, (lease) => void Object.assign(lease, { create: stuck })),
  'writer.write': (storage) => patchWriters(storage, 'write', ''),
  'writer.commit of a segment': (storage) => patchWriters(storage, 'commit', '.segment'),
  'writer.commit of a manifest': (storage) => patchWriters(storage, 'commit', '.manifest'),
  'writer.abort': (storage) =>
    patchWriters(storage, 'abort', '', (writer) => (writer.write = () => Promise.reject(new Error('no')))),
}

/** Enough that its segment is not read back in one call. */
async function putMuch(backend: StateBackend): Promise<void> {
  await backend.put(bytesOf('a'), randomBytes(300_000))
}

function patchReaders(storage: CheckpointStorage, patch: (reader: ObjectReader) => void): void {
  const open = storage.open.bind(storage)
  storage.open = async (name, options) => {
    const reader = await open(name, options)
    if (reader === undefined) return undefined
    const patched = {
      sizeBytes: reader.sizeBytes,
      read: reader.read.bind(reader),
      close: reader.close.bind(reader),
    }
    patch(patched)
    return patched
  }
}

function patchWriters(
  storage: CheckpointStorage,
  call: keyof ObjectWriter,
  object: string,
  patch: (writer: ObjectWriter) => void = () => {},
): void {
  patchLeases(storage, (lease) => {
    const create = lease.create.bind(lease)
    lease.create = async (name) => {
      const writer = await create(name)
      patch(writer)
      return name.includes(object) ? Object.assign(writer, { [call]: stuck }) : writer
    }
  })
}

/** A quick run lets some of them hang, the long one each. */
const hanging = Object.entries(calls).filter((_, i) => i % runs(1, 19) === 0)

describe.each(hanging)('where %s of the storage never settles,', (_, patch) => {
  it('a checkpoint ends by its signal', async () => {
    const storage = new MemoryCheckpointStorage()
    const { coordinator, backend } = bench(storage)
    patch(storage)
    await putMuch(backend)
    const controller = new AbortController()
    const making = coordinator.createCheckpoint({ signal: controller.signal })
    setImmediate(() => controller.abort())
    await expect(making).rejects.toMatchObject({ code: 'ABORTED' })
  })

  it('shutdown ends, and with it whatever is under way', async () => {
    const storage = new MemoryCheckpointStorage()
    const { coordinator, backend } = bench(storage)
    patch(storage)
    await putMuch(backend)
    const ends = [coordinator.createCheckpoint(), coordinator.createCheckpoint(), coordinator.shutdown()]
    for (const { status } of await Promise.allSettled(ends)) expect(status).toBe('rejected')
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({ code: 'CLOSED' })
  })
})

describe('where the storage answers after shutdown has given up,', () => {
  it('a call that waited for its turn does nothing: the next owner is not pushed out', async () => {
    const inner = new MemoryCheckpointStorage()
    let answer: () => void = () => {}
    const answered = new Promise<void>((resolve) => {
      answer = resolve
    })
    const acquire = inner.acquire.bind(inner)
    const late = async (options?: AcquireOptions) => {
      await answered
      return await acquire(options)
    }
    const { coordinator, events } = bench(Object.assign(inner, { acquire: late }))
    const ends = [
      coordinator.createCheckpoint(),
      coordinator.start({ takeOver: true }),
      coordinator.shutdown(),
    ]
    for (const { status } of await Promise.allSettled(ends)) expect(status).toBe('rejected')
    const lease = await acquire()
    answer()
    for (let turn = 0; turn < 20; turn++) await nextTurn()
    await lease.check()
    expect(events).toEqual(['failed undefined FENCED'])
  })
})

describe('where the storage never answers,', () => {
  it('a restore, a verification and a savepoint end by their signals, and a list by shutdown', async () => {
    const storage = new MemoryCheckpointStorage()
    const { coordinator, backend } = bench(storage)
    await put(backend, 'a=1')
    const { id } = await coordinator.createCheckpoint()
    Object.assign(storage, { open: stuck, list: stuck, read: stuck })
    const elsewhere = new MemoryCheckpointStorage()
    Object.assign(elsewhere, { acquire: stuck })
    const signal = AbortSignal.timeout(20)
    const ended = [
      coordinator.restoreLatest({ signal }),
      coordinator.restore(id, { signal }),
      coordinator.verify(id, { signal }),
      coordinator.createSavepoint(elsewhere, { signal }),
    ]
    for (const each of await Promise.allSettled(ended))
      expect(each).toMatchObject({ reason: { code: 'ABORTED' } })
    for (const each of await Promise.allSettled([coordinator.listCheckpoints(), coordinator.shutdown()])) {
      expect(each).toMatchObject({ reason: { code: 'CHECKPOINT_FAILED' } })
    }
  })

  it('the worker can be closed in the middle of its job', async () => {
    const worker = new CheckpointWorker()
    const storage = new MemoryCheckpointStorage()
    const { coordinator, backend } = benchWith({ worker, maxSilenceMs: MAX_SILENCE_MS }, storage)
    patchWriters(storage, 'abort', '', (writer) => Object.assign(writer, { write: stuck }))
    await put(backend, 'a=1')
    const making = coordinator.createCheckpoint()
    await new Promise((resolve) => coordinator.on('started', resolve))
    const [closed, made] = await Promise.allSettled([worker.close(), making])
    expect(closed.status).toBe('fulfilled')
    expect(made).toMatchObject({ status: 'rejected', reason: { code: 'CLOSED' } })
  })
})

describe('a thread that hangs', () => {
  it('is not waited for after the signal, nor by shutdown, which ends it', async () => {
    const storage = new MemoryCheckpointStorage()
    const source = `export const openSharedStorage = () => {
      for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
    }`
    const module = `data:text/javascript,${encodeURIComponent(source)}`
    patchLeases(storage, (lease) => {
      lease.share = () => ({ module, data: undefined, release: () => {} })
    })
    const backend = new MemoryStateBackend()
    const coordinator = new CheckpointCoordinator(backend, { storage, maxSilenceMs: MAX_SILENCE_MS })
    await expect(coordinator.createCheckpoint({ signal: AbortSignal.timeout(50) })).rejects.toMatchObject({
      code: 'ABORTED',
    })
    await expect(coordinator.shutdown()).rejects.toMatchObject({ code: 'CHECKPOINT_FAILED' })
    await backend.close()
  })
})

describe('a thread that starts', () => {
  it('is not taken for silent, however long it takes', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const backend = new MemoryStateBackend()
    const storage = new MemoryCheckpointStorage()
    const worker = new CheckpointWorker()
    const ready = worker.ready.bind(worker)
    let start = () => {}
    const mayStart = new Promise<void>((resolve) => (start = resolve))
    let isAsked = false
    worker.ready = async () => {
      isAsked = true
      await mayStart
      await ready()
    }
    const coordinator = new CheckpointCoordinator(backend, { storage, worker, maxSilenceMs: 5_000 })
    const shutDown = coordinator.shutdown()
    await expect.poll(() => isAsked).toBe(true)
    // Nothing else is heard meanwhile.
    for (let passedMs = 0; passedMs < 20_000; passedMs += 10) {
      vi.advanceTimersByTime(10)
      await nextTurn()
    }
    start()
    await shutDown
    expect(await storage.list()).toHaveLength(3)
    await worker.close()
  })
})

describe('a storage that is slow, and answers', () => {
  it('is waited for by shutdown, however long all of it takes', async () => {
    const storage = new MemoryCheckpointStorage()
    const { coordinator, backend } = benchWith({ maxSilenceMs: PATIENT_SILENCE_MS }, storage)
    await coordinator.start()
    const read = storage.read.bind(storage)
    const open = storage.open.bind(storage)
    const later = () => new Promise((resolve) => setTimeout(resolve, PATIENT_SILENCE_MS / 4))
    storage.read = async (...args) => (await later(), await read(...args))
    storage.open = async (...args) => (await later(), await open(...args))
    await put(backend, 'a=1')
    const startedAt = performance.now()
    await Promise.all([
      coordinator.createCheckpoint(),
      coordinator.createCheckpoint(),
      coordinator.shutdown(),
    ])
    expect(performance.now() - startedAt).toBeGreaterThan(PATIENT_SILENCE_MS)
  })
})

describe.each([
  ['memory', async () => new MemoryStateBackend()],
  ['lmdb', () => LmdbStateBackend.temporary({ flushEvery: 4, cacheBytes: 1024 * 1024 })],
] as const)('with the %s engine', (name, open) => {
  let backend: SyncStateBackend
  let coordinator: CheckpointCoordinator

  afterEach(async () => {
    await coordinator.shutdown().catch(() => {})
    await backend.close()
  })

  /** No snapshot of the backend can be read on this thread. */
  function forbidReadingHere(): void {
    const snapshotSync = backend.snapshotSync.bind(backend)
    backend.snapshotSync = (options) => {
      const snapshot = snapshotSync(options)
      snapshot.blocks = () => {
        throw new Error('read on the main thread')
      }
      return snapshot
    }
  }

  it('a checkpoint whose source closes the backend fails, and so does the last one', async () => {
    backend = await open()
    backend.putSync(bytesOf('a'), bytesOf('1'))
    const source = () => (void backend.close(), 0)
    coordinator = new CheckpointCoordinator(backend, { storage: new MemoryCheckpointStorage(), source })
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({ name: 'StateError' })
    await expect(coordinator.shutdown()).rejects.toMatchObject({ name: 'StateError' })
  })

  it('a checkpoint whose source throws what throws where it is looked at fails as any other', async () => {
    backend = await open()
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    const unreadable = Object.defineProperty({ name: 'x' }, 'message', { get: () => stuckReason() })
    for (const thrown of [proxy, unreadable, Symbol('s'), undefined]) {
      const source = () => {
        throw thrown
      }
      coordinator = new CheckpointCoordinator(backend, { storage: new MemoryCheckpointStorage(), source })
      await expect(coordinator.createCheckpoint()).rejects.toMatchObject({ code: 'CHECKPOINT_FAILED' })
      await expect(coordinator.shutdown()).rejects.toMatchObject({ code: 'CHECKPOINT_FAILED' })
    }
  })

  it('a checkpoint whose backend is closed behind the cut says that it is closed, whenever that is', async () => {
    const reasons: string[] = []
    for (let turns = runs(0, 2); turns < 4; turns++) {
      backend = await open()
      for (let i = 0; i < 200; i++) backend.putSync(bytesOf(`${i}`), bytesOf('1'))
      const storage = new MemoryCheckpointStorage()
      let closes = false
      const source = () => {
        if (closes) void closeAfter(turns)
        return 0
      }
      const closeAfter = async (left: number): Promise<void> => {
        await new Promise(setImmediate)
        await (left > 0 ? closeAfter(left - 1) : backend.close())
      }
      // The storage takes some turns for each call, as those of a disk do.
      patchLeases(storage, (lease) => {
        const replace = lease.replace.bind(lease)
        lease.replace = async (...args) => {
          for (let i = 0; i < 4; i++) await new Promise(setImmediate)
          return await replace(...args)
        }
      })
      coordinator = new CheckpointCoordinator(backend, { storage, source })
      await coordinator.createCheckpoint()
      backend.putSync(bytesOf('a'), bytesOf('2'))
      closes = true
      await coordinator.createCheckpoint().catch((error: Error) => reasons.push(error.message))
      await coordinator.shutdown().catch(() => {})
    }
    expect(reasons.length).toBeGreaterThan(0)
    for (const reason of reasons) expect(reason).toMatch(/closed/)
  })

  it('a delta that would be larger than its base is written anew by the worker, all of it', async () => {
    backend = await open()
    backend.putSync(bytesOf('a'), bytesOf('1'))
    forbidReadingHere()
    const logged: string[] = []
    const note = (level: string) => (_: object, message: string) => {
      if (message === 'the checkpoint takes the state once more') logged.push(level)
    }
    const logger = { debug: note('debug'), info: note('info'), warn: note('warn'), error: note('error') }
    coordinator = new CheckpointCoordinator(backend, { storage: new MemoryCheckpointStorage(), logger })
    await coordinator.createCheckpoint()
    for (let i = 0; i < 500; i++) backend.putSync(bytesOf(`k${i}`), bytesOf(`${i}`))
    expect(await coordinator.createCheckpoint()).toMatchObject({ kind: 'full', entryCount: 501 })
    // A state that has grown much is nothing that anybody has to look into.
    expect(logged).toEqual(['info'])
    // A delta has, beside what has changed, what the persistent engine had not committed at its base and has not since.
    await backend.flush()
    backend.putSync(bytesOf('b'), bytesOf('1'))
    expect(await coordinator.createCheckpoint()).toMatchObject({ kind: 'incremental', entryCount: 502 })
  })

  it('a storage that says NOT_INITIALIZED is not taken for a late reader', async () => {
    backend = await open()
    backend.putSync(bytesOf('a'), bytesOf('1'))
    const storage = new MemoryCheckpointStorage()
    const refusal = new StateError('NOT_INITIALIZED', { component: 'bucket', operation: 'create' })
    patchLeases(storage, (lease) => {
      lease.create = async () => await Promise.reject(refusal)
    })
    let cuts = 0
    coordinator = new CheckpointCoordinator(backend, { storage, source: () => ++cuts })
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({
      code: 'CHECKPOINT_FAILED',
      cause: { code: 'NOT_INITIALIZED' },
    })
    expect(cuts).toBe(1)
  })

  it('a checkpoint is made although its reader came too late', async () => {
    backend = await open()
    backend.putSync(bytesOf('a'), bytesOf('1'))
    coordinator = new CheckpointCoordinator(backend, { storage: new MemoryCheckpointStorage() })
    await coordinator.start()
    await coordinator.createCheckpoint()
    backend.putSync(bytesOf('a'), bytesOf('2'))
    const making = coordinator.createCheckpoint()
    // More than may wait while a reader is about to begin: the persistent engine does not wait for it any longer, and the
    // checkpoint has the state of a later instant. The memory engine waits for nobody.
    for (let i = 0; i < 4_000; i++) backend.putSync(bytesOf(`k${i}`), bytesOf('x'.repeat(1_000)))
    expect((await making).entryCount).toBe(name === 'memory' ? 1 : 4_001)
  })
})

describe('coordinators that start at once', () => {
  const many = process.env['HOLDFAST_LONG'] === '1' ? 25 : 5

  it(`all publish: ${many} of them, each with a worker of its own`, async () => {
    const backends = await Promise.all(Array.from({ length: many }, () => LmdbStateBackend.temporary()))
    const coordinators = backends.map((backend) => {
      for (let i = 0; i < 1_000; i++) backend.putSync(bytesOf(`k${i}`), bytesOf(`${i}`))
      return new CheckpointCoordinator(backend, { storage: new MemoryCheckpointStorage() })
    })
    const made = await Promise.all(coordinators.map((coordinator) => coordinator.createCheckpoint()))
    expect(made.map(({ entryCount }) => entryCount)).toEqual(made.map(() => 1_000))
    await Promise.all(coordinators.map((coordinator) => coordinator.shutdown()))
    await Promise.all(backends.map((backend) => backend.close()))
  })
})

describe('a coordinator that is dropped without shutdown', () => {
  it('keeps no process alive, though its checkpoints come by a schedule', async () => {
    const script = `
      import { CheckpointCoordinator, MemoryCheckpointStorage, MemoryStateBackend } from 'holdfast'
      const coordinator = new CheckpointCoordinator(new MemoryStateBackend(), {
        storage: new MemoryCheckpointStorage(),
        intervalMs: 200,
      })
      await coordinator.start()
      console.log((await coordinator.createCheckpoint()).kind)`
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
      cwd: import.meta.dirname,
      timeout: 120_000,
    })
    expect(stdout).toBe('full\n')
  })
})

describe('a snapshot that was closed by its age', () => {
  it('fails the checkpoint with CHECKPOINT_FAILED: nothing of the caller is closed', async () => {
    const { coordinator, backend } = bench(new MemoryCheckpointStorage())
    await coordinator.start()
    const taken = backend.snapshotSync.bind(backend)
    backend.snapshotSync = (options) => {
      const snapshot = taken(options)
      Object.assign(snapshot, { share: undefined })
      snapshot.closeSync()
      return snapshot
    }
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({
      code: 'CHECKPOINT_FAILED',
      cause: { code: 'CLOSED' },
    })
  })
})

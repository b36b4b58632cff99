import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { StateError } from '../../base/errors.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { LmdbStateBackend } from '../lmdb-state-backend.js'
import { StoreDirectory } from '../store/store-directory.js'
import { StoreGuard } from '../store/store-guard.js'
import type { LmdbStateBackendOptions } from '../types.js'
import { WriterPort } from './writer-port.js'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const FLUSH_INTERVAL_MS = 1_000

let clock: ManualClock
let backend: LmdbStateBackend

async function open(options: Partial<LmdbStateBackendOptions> = {}): Promise<void> {
  backend = await LmdbStateBackend.temporary({
    clock,
    cacheBytes: 1024 * 1024,
    flushIntervalMs: FLUSH_INTERVAL_MS,
    ...options,
  })
}

beforeEach(() => {
  clock = new ManualClock()
})

afterEach(async () => {
  // A test that has failed a commit has closed it.
  await backend.close().catch(() => {})
})

/** Keeps commits from beginning, as the reader of a checkpoint does until its thread is there; the result lets them go. */
function gate(): () => void {
  const snapshot = backend.snapshotSync({ track: true })
  snapshot.base?.release()
  expect(snapshot.share?.()).toBeDefined()
  return () => snapshot.closeSync()
}

describe('the interval after which writes are flushed by themselves', () => {
  it('passes while a reader keeps commits waiting: what was kept apart for it is committed when it has begun', async () => {
    await open()
    backend.putSync(bytes('kept apart'), bytes('1'))
    const letGo = gate()
    clock.advance(FLUSH_INTERVAL_MS)
    expect(backend.stats()).toMatchObject({ commits: 0, bufferedKeys: 1 })
    letGo()
    await expect.poll(() => backend.stats()).toMatchObject({ commits: 1, bufferedKeys: 0 })
  })

  it('passes while a reader keeps commits waiting: so is what was written afterwards', async () => {
    await open()
    backend.putSync(bytes('kept apart'), bytes('1'))
    const letGo = gate()
    backend.putSync(bytes('afterwards'), bytes('1'))
    clock.advance(FLUSH_INTERVAL_MS)
    letGo()
    await expect.poll(() => backend.stats()).toMatchObject({ commits: 2, bufferedKeys: 0 })
  })

  it('counts from the first write that no commit has taken up', async () => {
    await open()
    backend.putSync(bytes('flushed'), bytes('1'))
    clock.advance(FLUSH_INTERVAL_MS - 1)
    await backend.flush()
    backend.putSync(bytes('behind it'), bytes('1'))
    clock.advance(1)
    backend.putSync(bytes('later'), bytes('1'))
    clock.advance(FLUSH_INTERVAL_MS - 1)
    await expect.poll(() => backend.stats().bufferedKeys).toBe(0)
    expect(backend.stats().commits).toBe(2)
  })

  it('passes while another commit is under way', async () => {
    await open()
    backend.putSync(bytes('first'), bytes('1'))
    const flushed = backend.flush()
    await Promise.resolve()
    backend.putSync(bytes('second'), bytes('1'))
    const snapshot = backend.snapshotSync({ track: true })
    snapshot.base?.release()
    snapshot.closeSync()
    clock.advance(FLUSH_INTERVAL_MS)
    await flushed
    await expect.poll(() => backend.stats()).toMatchObject({ commits: 2, bufferedKeys: 0 })
  })

  it('passes, and then everything is cleared away, while a reader keeps commits waiting', async () => {
    await open()
    backend.putSync(bytes('first'), bytes('1'))
    await backend.flush()
    const letGo = gate()
    backend.putSync(bytes('second'), bytes('1'))
    clock.advance(FLUSH_INTERVAL_MS)
    await backend.clear()
    letGo()
    await expect.poll(() => backend.stats().commits).toBe(2)
    expect(await backend.count()).toBe(0)
  })

  it('sets one timer for a write, and none that goes on without one', async () => {
    await open({ sweepIntervalMs: Infinity })
    const letGo = gate()
    backend.putSync(bytes('first'), bytes('1'))
    clock.advance(FLUSH_INTERVAL_MS)
    expect(clock.pendingTimers).toBe(0)
    letGo()
    await expect.poll(() => backend.stats().commits).toBe(1)
  })
})

describe('a store that is nearly full', () => {
  const MAX_BYTES = 1024 * 1024
  const key = bytes('a')
  /** Two of it fit, and three do not. */
  const value = (fill: number): Uint8Array => new Uint8Array(400 * 1024).fill(fill)

  /** The buffer holds the value that takes the place of the committed one: on disk there is one of them. */
  async function rewritten(): Promise<void> {
    await open({ maxBytes: MAX_BYTES, cacheBytes: 64 * 1024 * 1024 })
    backend.putSync(key, value(1))
    await backend.flush()
    backend.putSync(key, value(2))
  }

  it('takes a write while a reader keeps commits waiting: what waits for them is committed, and looked at again', async () => {
    await rewritten()
    const letGo = gate()
    backend.putSync(key, value(3))
    expect(backend.getSync(key)?.[0]).toBe(3)
    letGo()
    await backend.flush()
  })

  it('takes a write while it is compacted: the compaction gives way', async () => {
    await rewritten()
    await backend.flush()
    const compacting = backend.compact()
    const outcome = compacting.then(
      () => undefined,
      (error: unknown) => error,
    )
    await new Promise((resolve) => setImmediate(resolve))
    backend.putSync(key, value(3))
    backend.putSync(key, value(4))
    backend.putSync(key, value(5))
    expect(await outcome).toMatchObject({ code: 'TRANSACTION_FAILED' })
    await backend.flush()
    expect(backend.getSync(key)?.[0]).toBe(5)
  })

  it('takes a write while the compacted file is put in service, and tells the next one that is too much', async () => {
    await rewritten()
    const { adoptNextData } = StoreDirectory.prototype
    const adopting = vi.spyOn(StoreDirectory.prototype, 'adoptNextData')
    adopting.mockImplementation(async function (this: StoreDirectory) {
      backend.putSync(key, value(3))
      backend.putSync(key, value(4))
      await adoptNextData.call(this)
    })
    await backend.compact()
    expect(backend.getSync(key)?.[0]).toBe(4)
    backend.putSync(bytes('b'), value(5))
    expect(() => backend.putSync(bytes('c'), value(6))).toThrow(
      expect.objectContaining({ code: 'BACKEND_FULL' }),
    )
    adopting.mockRestore()
  })

  it('takes a write right after a flush: what the cache has not taken over yet counts once', async () => {
    await open({ maxBytes: MAX_BYTES, cacheBytes: 64 * 1024 * 1024 })
    for (let i = 0; i < 2_000; i++) backend.putSync(bytes(`key ${i}`), new Uint8Array(100))
    await backend.flush()
    backend.putSync(key, value(1))
    await backend.flush()
    expect(backend.getSync(key)?.[0]).toBe(1)
  })

  it('says that a commit failed, not that it is full, where what waits cannot be committed', async () => {
    await rewritten()
    const failure = new StateError('STORAGE_ERROR', {
      storage: 'lmdb',
      operation: 'commit',
      reason: 'no disk',
    })
    const request = vi.spyOn(WriterPort.prototype, 'request')
    request.mockImplementationOnce((_request, answered) => answered(failure, undefined))
    expect(() => backend.putSync(key, value(3))).toThrow(expect.objectContaining({ code: 'STORAGE_ERROR' }))
    request.mockRestore()
    await expect(backend.close()).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
  })
})

describe('those that wait for the same', () => {
  it.each([false, true])('share one look at the files of the store (log: %s)', async (log) => {
    await open({ log })
    await backend.flush()
    const looks = vi.spyOn(StoreGuard.prototype, 'check')
    try {
      await Promise.all(
        Array.from({ length: 64 }, (_, i) => backend.put(bytes(`key ${i}`), bytes('v'), { durable: true })),
      )
      // The thread that writes looks for itself.
      expect(looks).toHaveBeenCalledTimes(1)
      await backend.flush()
      expect(looks).toHaveBeenCalledTimes(2)
    } finally {
      looks.mockRestore()
    }
  })

  it('are all told where a file of the store is gone', async () => {
    await open()
    const failure = new StateError('STORAGE_ERROR', { storage: 'lmdb', operation: 'commit', reason: 'gone' })
    const looks = vi.spyOn(StoreGuard.prototype, 'check').mockImplementation(() => {
      throw failure
    })
    try {
      const puts = Array.from({ length: 3 }, (_, i) =>
        backend.put(bytes(`${i}`), bytes('v'), { durable: true }),
      )
      for (const outcome of await Promise.allSettled(puts)) {
        expect(outcome).toEqual({ status: 'rejected', reason: failure })
      }
    } finally {
      looks.mockRestore()
    }
  })
})

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ManualClock } from '../../testing/manual-clock.js'
import { LmdbStateBackend } from '../lmdb-state-backend.js'
import type { LmdbStateBackendOptions } from '../types.js'

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
  await backend.close()
})

/** Keeps commits from beginning, as the reader of a checkpoint does until its thread is there; the result lets them go. */
function gate(): () => void {
  const snapshot = backend.snapshotSync({ track: true })
  snapshot.base?.release()
  expect(snapshot.share()).toBeDefined()
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

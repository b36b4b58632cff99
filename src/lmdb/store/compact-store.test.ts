import { afterEach, expect, it, vi } from 'vitest'
import { systemClock } from '../../base/clock.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { type Compaction, compactStore } from './compact-store.js'

const TIMEOUT_MS = 20

afterEach(() => vi.restoreAllMocks())

/** A compaction whose copy is made so, and which fails with `copied` when that is done. */
function compactionWith(backup: () => Promise<unknown>): Compaction {
  const parts = {
    directory: {
      nextDataPath: async () => '/nowhere/data-2.mdb',
      sealNextData: () => Promise.reject(new Error('copied')),
      dropNextData: async () => {},
    },
    environment: { root: { backup } },
    commit: { pause: async () => {}, resume: () => {} },
    timeoutMs: TIMEOUT_MS,
    usedBytes: 0,
  }
  return parts as unknown as Compaction
}

it('waits for a copy that was made while the thread was held for longer than the copy may take', async () => {
  const clock = new ManualClock()
  vi.spyOn(systemClock, 'setTimer').mockImplementation((callback, ms) => clock.setTimer(callback, ms))
  const copying = () =>
    new Promise<void>((resolve) => {
      setImmediate(() => {
        // The turn after the thread was held: its timers come first, what was done meanwhile next.
        clock.advance(5 * TIMEOUT_MS)
        resolve()
      })
    })
  const compacting = compactStore(compactionWith(copying))
  await expect(compacting).rejects.toThrow('copied')
})

it('gives a copy up that does not end', async () => {
  const compacting = compactStore(compactionWith(() => new Promise(() => {})))
  await expect(compacting).rejects.toMatchObject({
    code: 'STORAGE_ERROR',
    details: { reason: `the copy took more than ${TIMEOUT_MS} ms` },
  })
})

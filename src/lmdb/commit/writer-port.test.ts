import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { systemClock } from '../../base/clock.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { LmdbStateBackend } from '../lmdb-state-backend.js'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

describe('a commit whose thread is not asked for its answer in time', () => {
  it('is done, not late: the time in which this thread was held is not the silence of the other', async () => {
    const clock = new ManualClock()
    const setTimer = vi.spyOn(systemClock, 'setTimer')
    setTimer.mockImplementation((callback, ms) => clock.setTimer(callback, ms))
    const commitTimeoutMs = 800
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
    const backend = await LmdbStateBackend.open({ path: folder, commitTimeoutMs })
    let failed = false
    backend.on('failed', () => {
      failed = true
    })
    backend.putSync(bytes('k'), bytes('1'))
    const flushed = backend.flush()
    // The commit begins at the end of this step. Then time goes by at once, as where the thread is held.
    await Promise.resolve()
    clock.advance(10 * commitTimeoutMs)
    await flushed
    await backend.put(bytes('k'), bytes('2'), { durable: true })
    expect(failed).toBe(false)
    setTimer.mockRestore()
    await backend.close()
    await rm(folder, { recursive: true })
  })
})

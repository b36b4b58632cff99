import { once } from 'node:events'
import { MessageChannel } from 'node:worker_threads'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { nextTurn } from '../../base/slices.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { WorkerJob } from './worker-job.js'

afterEach(() => {
  vi.useRealTimers()
})

/** A job whose thread has closed the port without a last word. */
async function abandonedJob(): Promise<WorkerJob> {
  const { port1, port2 } = new MessageChannel()
  const job = new WorkerJob(port1, { storage: new MemoryCheckpointStorage() })
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const closed = once(port1, 'close')
  port2.close()
  await closed
  return job
}

async function pass(ms: number): Promise<void> {
  for (let passedMs = 0; passedMs < ms; passedMs += 10) {
    vi.advanceTimersByTime(10)
    await nextTurn()
  }
}

describe('a job whose port was closed by its thread', () => {
  it('waits for the news of how the thread has ended, which on a busy machine take seconds', async () => {
    const job = await abandonedJob()
    await pass(5_000)
    job.lose(new Error('it ended with exit code 7'))
    await expect(job.ended).rejects.toThrow('it ended with exit code 7')
  })

  it('fails where they never come', async () => {
    const job = await abandonedJob()
    await pass(31_000)
    await expect(job.ended).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      message: expect.stringContaining('closed the port without a last word'),
    })
  })
})

import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { expect, it } from 'vitest'
import { compiledModule } from '../base/compiled.js'
import { SEGMENT_BYTES } from '../log/layout.js'
import { WarmSegments } from './warm-segments.js'

it.skipIf(!existsSync('/dev/zero'))(
  'memory is ready after a while, all of it zeros, and given out once',
  async () => {
    const warm = new WarmSegments(SEGMENT_BYTES)
    expect(warm.take()).toBeUndefined()
    warm.prepare()
    warm.prepare()
    let taken: SharedArrayBuffer | undefined
    await expect.poll(() => (taken = warm.take())).toBeDefined()
    expect(taken?.byteLength).toBe(SEGMENT_BYTES)
    expect(Buffer.from(taken as SharedArrayBuffer).equals(Buffer.alloc(SEGMENT_BYTES))).toBe(true)
    expect(warm.take()).toBeUndefined()
    // It is asked for anew when one was taken, and only then.
    warm.prepare()
    await expect.poll(() => warm.take() !== undefined).toBe(true)
  },
)

it('a thread that is terminated while memory is made ready for it ends', async () => {
  const script = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(workerData).then(({ openStateBuilder }) => {
      const building = { nowMs: 0, hashKey: { low: 1, high: 2 }, segmentBytes: ${SEGMENT_BYTES}, roomBytes: Infinity }
      openStateBuilder(building, { expectedEntries: 1e6, laterMs: 0 })
      setInterval(() => {}, 1_000)
      parentPort.postMessage('begun')
    })`
  for (let i = 0; i < 3; i++) {
    const worker = new Worker(script, { eval: true, workerData: compiledModule('#memory/log-builder').href })
    await once(worker, 'message')
    expect(await worker.terminate()).toBe(1)
  }
})

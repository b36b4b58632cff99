import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
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

const TERMINATED_THREADS = process.env['HOLDFAST_LONG'] === '1' ? 60 : 6
const WRITING_THREAD = `
  const { parentPort, workerData } = require('node:worker_threads')
  import(workerData.module).then(async ({ LmdbStateBackend }) => {
    const backend = await LmdbStateBackend.open({ path: workerData.path })
    parentPort.postMessage('writing')
    for (let i = 0; ; i++) {
      backend.putSync(Buffer.from('k' + (i % 1_000)), Buffer.alloc(100))
      if (i % 1_000 === 0) await backend.flush()
    }
  })`

const REPLACING_THREAD = `
  const { parentPort, workerData } = require('node:worker_threads')
  const prefix = Buffer.from('k')
  Promise.all([import(workerData.module), import(workerData.blocks)]).then(async ([{ LmdbStateBackend }, { EntryBlockBuilder }]) => {
    const backend = await LmdbStateBackend.open({ path: workerData.path })
    const value = Buffer.alloc(100)
    async function* blocks() {
      const builder = new EntryBlockBuilder(64 * 1024)
      for (let i = 0; i < 20_000; i++) {
        const key = Buffer.from('k' + String(i).padStart(6, '0'))
        builder.add(key, 0, key.length, value, 0, value.length, i % 2 === 0 ? Infinity : 2 ** 50)
        if (builder.full) yield builder.take()
      }
      if (builder.entryCount > 0) yield builder.take()
    }
    parentPort.postMessage('writing')
    for (let i = 0; ; i++) await backend.replaceAll(blocks(), i % 2 === 0 ? {} : { range: { prefix } })
  })`

describe('a thread that is terminated while it writes to a store', () => {
  it('ends, and its store opens again, also where its content is being replaced', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
    const module = pathToFileURL(resolve('dist/lmdb.js')).href
    const blocks = pathToFileURL(resolve('dist/index.js')).href
    for (let round = 0; round < TERMINATED_THREADS / 3; round++) {
      const workerData = { module, blocks, path: join(folder, `${round}`) }
      const thread = new Worker(REPLACING_THREAD, { eval: true, workerData })
      await once(thread, 'message')
      await delay(40 + 67 * (round % 10))
      expect(await thread.terminate()).toBe(1)
      const again = await LmdbStateBackend.open({ path: join(folder, `${round}`) })
      expect([0, 20_000]).toContain(await again.count())
      again.putSync(bytes('k'), bytes('1'))
      await again.close()
    }
    await rm(folder, { recursive: true, force: true })
  })

  it('ends, whatever its commit is about', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
    const module = pathToFileURL(resolve('dist/lmdb.js')).href
    for (let round = 0; round < TERMINATED_THREADS; round++) {
      const workerData = { module, path: join(folder, `${round}`) }
      const thread = new Worker(WRITING_THREAD, { eval: true, workerData })
      await once(thread, 'message')
      await delay(20 * (round % 20))
      expect(await thread.terminate()).toBe(1)
    }
    await rm(folder, { recursive: true, force: true })
  })
})

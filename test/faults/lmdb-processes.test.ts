import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { runs } from '../support/long.js'
import { type CompiledSources, compileSources } from './compile-sources.js'
import { titled } from './fault-kit.js'
import { mountMissing, onSmallDisk } from './mounted.js'
import { StoreProcess } from './store-process.js'

let sources: CompiledSources
let path: string
const owners: StoreProcess[] = []

beforeAll(async () => {
  sources = await compileSources()
})
beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'holdfast-processes-'))
})
afterEach(async () => {
  for (const owner of owners.splice(0)) await owner.kill()
  await rm(path, { recursive: true })
})

async function startOwner(store: string, mode = ''): Promise<StoreProcess> {
  const owner = await StoreProcess.start(sources, store, [], mode)
  owners.push(owner)
  return owner
}

describe.each(['', 'log'])('a store and several processes (%s)', (mode) => {
  it('has one writer, until that closes it or dies', async () => {
    const first = await startOwner(path, mode)
    const second = await startOwner(path, mode)
    expect(await first.tell('open')).toBe('opened')
    expect(await second.tell('open')).toBe('FENCED')
    await first.tell('put a 1')
    await first.tell('flush')
    await first.tell('put a 2')
    await first.kill()
    expect(await second.tell('open')).toBe('opened')
    expect(await second.tell('get a')).toBe('1')
    expect(await second.tell('put a 3')).toBe('done')
    expect(await second.tell('close')).toBe('done')
    const third = await startOwner(path, mode)
    expect(await third.tell('open')).toBe('opened')
    expect(await third.tell('get a')).toBe('3')
  })

  it('shows readers what was flushed, beside the writer and after its death', async () => {
    const writer = await startOwner(path, mode)
    const reader = await startOwner(path, mode)
    expect(await reader.tell('read')).toBe('STORAGE_ERROR')
    await writer.tell('open')
    expect(await reader.tell('read')).toBe('opened')
    await writer.tell('put a 1')
    expect(await reader.tell('get a')).toBe('nothing')
    await writer.tell('flush')
    expect(await reader.tell('get a')).toBe('1')
    expect(await reader.tell('put a 2')).toBe('INVALID_ARGUMENT')
    await writer.tell('put a 3')
    await writer.kill()
    expect(await reader.tell('get a')).toBe('1')
    const next = await startOwner(path, mode)
    await next.tell('open')
    await next.tell('put a 4')
    await next.tell('flush')
    expect(await reader.tell('get a')).toBe('4')
  })

  it.runIf(process.platform === 'linux')(
    'is not taken over from a process that was stopped with the lock for writers: who tries is told so, and does not hang',
    async () => {
      const writer = await startOwner(path, mode)
      const pid = await writer.tell('pid')
      await writer.tell('open')
      await writer.tell('put a 1')
      await writer.tell('flush')
      const goesOn = writer.tell('stopWithLock')
      await vi.waitUntil(() => /\) T /.test(readFileSync(`/proc/${pid}/stat`, 'latin1')), { timeout: 60_000 })
      const next = await startOwner(path, mode)
      // Each time: the lease has not changed hands.
      for (let tries = 0; tries < 2; tries++) {
        expect(await next.tell('takeOver 500')).toBe('FENCED')
        expect(await next.tell('reason')).toMatch(
          new RegExp(`process ${pid} on host .* has kept LMDB's lock for writers for more than 500 ms`),
        )
      }
      expect(await next.tell('open')).toBe('FENCED')
      const reader = await startOwner(path, mode)
      expect(await reader.tell('read')).toBe('opened')
      expect(await reader.tell('get a')).toBe('1')
      process.kill(Number(pid), 'SIGCONT')
      expect(await goesOn).toBe('done')
      expect(await next.tell('takeOver')).toBe('opened')
      expect(await next.tell('get a')).toBe('1')
      await writer.tell('put a 2')
      expect(await writer.tell('flush')).toBe('FENCED')
    },
  )

  it('does not mind readers that die', async () => {
    const writer = await startOwner(path, mode)
    await writer.tell('open')
    for (let i = 0; i < runs(5, 2); i++) {
      const reader = await startOwner(path, mode)
      expect(await reader.tell('read')).toBe('opened')
      await reader.tell('get a')
      await reader.kill()
      await writer.tell(`put a ${i}`)
      expect(await writer.tell('flush')).toBe('done')
    }
    expect(await writer.tell('close')).toBe('done')
  })
})

const missing = mountMissing()

describe.skipIf(missing !== undefined)(titled('a new store on a disk that is nearly full', missing), () => {
  it('is opened, or STORAGE_ERROR, whatever is left', async () => {
    const outcomes: string[] = []
    for (let size = 8; size <= 512; size += size < 256 ? runs(8, 124) : runs(64, 256)) {
      await onSmallDisk(`size=${size}k`, async (folder) => {
        const owner = await startOwner(join(folder, 'store'))
        outcomes.push(await owner.tell('open'))
        await owner.kill()
      })
    }
    expect(new Set(outcomes)).toEqual(new Set(['STORAGE_ERROR', 'opened']))
  })
})

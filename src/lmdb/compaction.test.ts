import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { titled } from '../../test/faults/fault-kit.js'
import { leftToLongRuns } from '../../test/support/long.js'
import { ManualClock } from '../testing/manual-clock.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'
import { StoreDirectory } from './store/store-directory.js'
import type { LmdbStateBackendOptions } from './types.js'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : new TextDecoder().decode(value)

let path: string
const opened: LmdbStateBackend[] = []

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
})

afterEach(async () => {
  for (const backend of opened.splice(0)) await backend.close().catch(() => {})
  await rm(path, { recursive: true, force: true })
})

async function open(options: Partial<LmdbStateBackendOptions> = {}): Promise<LmdbStateBackend> {
  const backend = await LmdbStateBackend.open({ path, ...options })
  opened.push(backend)
  return backend
}

async function dataFiles(): Promise<string[]> {
  return (await readdir(path)).filter((name) => name.endsWith('.mdb')).sort()
}

/** What the entries take on the disk, also where there is a log beside them. */
async function dataBytes(): Promise<number> {
  const sizes = (await dataFiles()).map(async (name) => (await stat(join(path, name))).size)
  return (await Promise.all(sizes)).reduce((total, size) => total + size, 0)
}

/** Entries of which most are deleted again. */
async function shrunk(options: Partial<LmdbStateBackendOptions> = {}): Promise<LmdbStateBackend> {
  const backend = await open(options)
  for (let i = 0; i < 5_000; i++)
    backend.putSync(bytes(`key ${i}`), new Uint8Array(500).fill(i), { ttlMs: 1e9 })
  await backend.flush()
  for (let i = 0; i < 5_000; i++) if (i % 100 !== 0) backend.deleteSync(bytes(`key ${i}`))
  await backend.flush()
  return backend
}

describe('compact', () => {
  it('gives disk space back, and everything is as it was, now and when opened again', async () => {
    const clock = new ManualClock()
    const backend = await shrunk({ clock })
    const before = await dataBytes()
    await backend.compact()
    expect(await dataBytes()).toBeLessThan(before / 10)
    expect(await backend.count()).toBe(50)
    backend.putSync(bytes('later'), bytes('x'))
    await backend.flush()
    expect(await backend.verify()).toMatchObject({ ok: true, entries: 51, expiring: 50 })
    expect(await dataFiles()).toEqual(['data-2.mdb'])
    for (const name of await readdir(path)) {
      expect([name, (await stat(join(path, name))).mode & 0o777]).toEqual([name, 0o600])
    }
    await backend.compact()
    expect(await dataFiles()).toEqual(['data-3.mdb'])
    await backend.close()

    const again = await open({ clock })
    expect(again.getSync(bytes('key 4900'))).toEqual(new Uint8Array(500).fill(4_900))
    expect(text(again.getSync(bytes('later')))).toBe('x')
    clock.advance(1e9)
    expect(await again.count()).toBe(1)
  })

  it('leaves open snapshots and scans alone, and removes the old file when they are closed', async () => {
    const backend = await shrunk()
    const snapshot = backend.snapshotSync()
    const scan = backend.scanSync()
    const first = scan.next()
    await backend.clear()
    await backend.compact()
    expect(await backend.count()).toBe(0)
    expect(snapshot.countSync()).toBe(50)
    expect([...snapshot.scanSync()]).toHaveLength(50)
    expect([first.value, ...scan]).toHaveLength(50)
    expect(await dataFiles()).toEqual(['data-1.mdb', 'data-2.mdb'])
    snapshot.closeSync()
    await backend.close()
    expect(await dataFiles()).toEqual(['data-2.mdb'])
  })

  const comesAgain = 'may come again while a snapshot keeps the file from before the last time'
  it.skipIf(leftToLongRuns !== undefined)(titled(comesAgain, leftToLongRuns), async () => {
    const backend = await shrunk()
    const snapshot = backend.snapshotSync()
    for (let i = 0; i < 3; i++) {
      backend.putSync(bytes('again'), bytes(`${i}`))
      await backend.compact()
    }
    expect(snapshot.countSync()).toBe(50)
    expect(await backend.count()).toBe(51)
    snapshot.closeSync()
    await backend.close()
    expect(await dataFiles()).toEqual(['data-4.mdb'])
  })

  it('goes on beside writes, which are durable afterwards', async () => {
    const backend = await shrunk()
    const compacting = backend.compact()
    const written: Promise<void>[] = []
    for (let i = 0; i < 200; i++) {
      written.push(backend.put(bytes(`during ${i}`), bytes(`${i}`), { durable: i % 10 === 0 }))
      if (i % 20 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await Promise.all([compacting, backend.compact(), ...written])
    await backend.close()
    const again = await open()
    expect(await again.count()).toBe(250)
    expect(text(again.getSync(bytes('during 199')))).toBe('199')
  })

  it('gives way where more is written than may wait, and the store is as it was', async () => {
    const backend = await shrunk({ cacheBytes: 1024 * 1024 })
    let letGo = () => {}
    const isFlooded = new Promise<void>((resolve) => {
      letGo = resolve
    })
    const { sealNextData } = StoreDirectory.prototype
    const sealing = vi.spyOn(StoreDirectory.prototype, 'sealNextData')
    onTestFinished(() => sealing.mockRestore())
    // The copy, which other threads make, may be quicker than this one writes.
    sealing.mockImplementation(async function (this: StoreDirectory) {
      await isFlooded
      await sealNextData.call(this)
    })
    const compacting = backend.compact().then(
      () => 'compacted',
      (error: { readonly code: string }) => error.code,
    )
    let writes = 0
    const value = new Uint8Array(1_000)
    while (
      (await Promise.race([compacting, new Promise((resolve) => setImmediate(resolve, 'busy'))])) === 'busy'
    ) {
      for (let i = 0; i < 100; i++) backend.putSync(bytes(`flood ${writes++}`), value)
      if (writes * value.length >= 4 * 1024 * 1024) letGo()
    }
    expect(await compacting).toBe('TRANSACTION_FAILED')
    await backend.flush()
    expect(await dataFiles()).toEqual(['data-1.mdb'])
    expect(await backend.count()).toBe(50 + writes)
  })

  it('is followed by read-only openers', async () => {
    const writer = await shrunk()
    const reader = await open({ readOnly: true })
    const snapshot = reader.snapshotSync()
    expect(await reader.count()).toBe(50)
    await writer.compact()
    writer.putSync(bytes('later'), bytes('x'))
    await writer.flush()
    await new Promise((resolve) => setImmediate(resolve))
    expect(text(reader.getSync(bytes('later')))).toBe('x')
    expect(await reader.count()).toBe(51)
    expect(snapshot.countSync()).toBe(50)
  })

  it('cannot be told from no compaction after a crash at either side of the switch', async () => {
    const backend = await shrunk()
    await backend.compact()
    await backend.close()
    await writeFile(join(path, 'data-7.mdb'), 'a copy that was not finished')
    await writeFile(join(path, 'data-1.mdb'), 'an old file that was not removed yet')
    const again = await open()
    expect(await dataFiles()).toEqual(['data-2.mdb'])
    expect(await again.count()).toBe(50)
  })

  it('refuses to replace a store by a copy of damaged records', async () => {
    await (await shrunk()).close()
    const file = join(path, 'data-1.mdb')
    const content = await readFile(file)
    const value = new Uint8Array(500).fill(100)
    let damaged = 0
    for (let at = content.indexOf(value); at >= 0; at = content.indexOf(value, at + 1)) {
      content[at + 100] = 99
      damaged++
    }
    expect(damaged).toBeGreaterThan(0)
    await writeFile(file, content)
    const backend = await open()
    await expect(backend.compact()).rejects.toMatchObject({ code: 'CORRUPTION' })
    expect(await dataFiles()).toEqual(['data-1.mdb'])
    expect(backend.getSync(bytes('key 200'))).toEqual(new Uint8Array(500).fill(200))
    backend.putSync(bytes('still'), bytes('writable'))
    await backend.flush()
  })
})

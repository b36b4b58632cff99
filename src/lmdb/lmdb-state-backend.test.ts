import { execFile } from 'node:child_process'
import { copyFile, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it, vi } from 'vitest'
import { lmdbStores } from '../../test/support/lmdb-stores.js'
import { runs } from '../../test/support/long.js'
import { openBelow } from '../../test/support/open-files.js'
import { EntryBlockBuilder } from '../backend/entry-block.js'
import { WriteBatch } from '../backend/write-batch.js'
import type { StateErrorCode } from '../base/errors.js'
import { CheckpointCoordinator } from '../checkpoint/coordinator/checkpoint-coordinator.js'
import { crc32 } from '../codec/checksum.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { ManualClock } from '../testing/manual-clock.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'

const MEBIBYTE = 1024 * 1024
const key = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : new TextDecoder().decode(bytes)

let folder: string
let path: string
const open = lmdbStores((made, store) => {
  folder = made
  path = store
})

async function rejected(code: StateErrorCode, promise: Promise<unknown>): Promise<Error> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toMatchObject({ code })
  return error as Error
}

describe('what was flushed', () => {
  it('is there after closing and opening, with its remaining time to live', async () => {
    const clock = new ManualClock()
    const before = await open({ clock })
    before.putSync(key('a'), key('1'))
    before.putSync(key('b'), key('2'), { ttlMs: 100 })
    before.putSync(key(''), key('empty'))
    clock.advance(60)
    await before.close()
    const after = await open({ clock })
    expect(text(after.getSync(key('a')))).toBe('1')
    expect(text(after.getSync(key('')))).toBe('empty')
    clock.advance(39)
    expect(text(after.getSync(key('b')))).toBe('2')
    clock.advance(1)
    expect(after.getSync(key('b'))).toBeUndefined()
    expect(await after.count()).toBe(2)
  })

  it('expires on time although the clock was set back while the process was down', async () => {
    const before = await open({ clock: new ManualClock(1_000_000) })
    before.putSync(key('a'), key('1'), { ttlMs: 100 })
    await before.close()
    const clock = new ManualClock(10)
    const after = await open({ clock })
    clock.advance(100)
    expect(after.getSync(key('a'))).toBeUndefined()
  })

  it('does not revive where the clock is set back between closing and opening', async () => {
    const clock = new ManualClock()
    const before = await open({ clock, sweepIntervalMs: Infinity })
    before.putSync(key('a'), key('1'), { ttlMs: 50 })
    await before.flush()
    clock.advance(50)
    expect(before.getSync(key('a'))).toBeUndefined()
    await before.close()
    clock.set(clock.now() - 50)
    const after = await open({ clock, sweepIntervalMs: Infinity })
    expect(after.getSync(key('a'))).toBeUndefined()
  })

  it('is removed physically when it expired while nobody had it open', async () => {
    const clock = new ManualClock()
    const before = await open({ clock })
    for (let i = 0; i < 500; i++) before.putSync(key(`k${i}`), key('v'), { ttlMs: 50 })
    before.putSync(key('stays'), key('v'))
    await before.close()
    clock.advance(60)
    const after = await open({ clock })
    expect(after.stats().entries).toBe(501)
    clock.advance(1_000)
    const swept = after.stats().expired
    expect(swept).toBeGreaterThan(0)
    expect(await after.sweep()).toBe(500 - swept)
    expect(after.stats()).toMatchObject({ entries: 1, expired: 500 })
    await after.flush()
    const report = await after.verify()
    expect(report).toMatchObject({ ok: true, entries: 1, expiring: 0, problems: [] })
  })

  it('is refreshed by a put, and a sweep of its former time leaves it alone', async () => {
    const clock = new ManualClock()
    const backend = await open({ clock, sweepIntervalMs: Infinity })
    backend.putSync(key('a'), key('1'), { ttlMs: 50 })
    await backend.flush()
    backend.putSync(key('a'), key('2'), { ttlMs: 500 })
    clock.advance(60)
    expect(await backend.sweep()).toBe(0)
    await backend.flush()
    expect(await backend.sweep()).toBe(0)
    expect(text(backend.getSync(key('a')))).toBe('2')
    expect(await backend.verify()).toMatchObject({ ok: true, entries: 1, expiring: 1 })
  })

  it('is swept at once although commits come to an end meanwhile, and each entry is counted once', async () => {
    const clock = new ManualClock()
    const before = await open({ clock })
    const batch = new WriteBatch()
    for (let i = 0; i < 2_500; i++) batch.put(key(`${i}`.padStart(1_000, 'k')), key('v'), { ttlMs: 10 })
    before.writeSync(batch)
    await before.close()
    const backend = await open({ clock, cacheBytes: MEBIBYTE, flushEvery: 1_024, sweepIntervalMs: Infinity })
    clock.advance(10)
    await backend.clear()
    expect(backend.stats()).toMatchObject({ expired: 2_500, entries: 0 })
  })

  it('is durable when a durable put resolves; puts of one turn share a commit', async () => {
    const backend = await open({ flushIntervalMs: Infinity })
    await Promise.all([1, 2, 3].map((i) => backend.put(key(`k${i}`), key('v'), { durable: true })))
    expect(backend.stats().commits).toBe(1)
    await backend.write(new WriteBatch().put(key('b'), key('v')).delete(key('k1')), { durable: true })
    expect(backend.stats()).toMatchObject({ commits: 2, bufferedKeys: 0 })
  })

  it('compares batches with what is on disk', async () => {
    const backend = await open()
    backend.putSync(key('a'), key('1'))
    await backend.flush()
    backend.writeSync(new WriteBatch().expect(key('a'), key('1')).put(key('a'), key('2')))
    await rejected(
      'CONCURRENT_MODIFICATION',
      backend.write(new WriteBatch().expect(key('a'), key('1')).delete(key('a'))),
    )
    expect(text(backend.getSync(key('a')))).toBe('2')
  })

  it('is flushed by time, without anybody asking', async () => {
    const clock = new ManualClock()
    const backend = await open({ clock, flushIntervalMs: 200 })
    backend.putSync(key('a'), key('1'))
    clock.advance(199)
    expect(backend.stats().bufferedKeys).toBe(1)
    clock.advance(1)
    await backend.flush()
    expect(backend.stats()).toMatchObject({ commits: 1, recordsCommitted: 1 })
  })

  it('takes one record for a key that was written often', async () => {
    const backend = await open({ flushIntervalMs: Infinity })
    for (let i = 0; i < 10_000; i++) backend.putSync(key('hot'), key(`${i}`))
    await backend.flush()
    expect(backend.stats()).toMatchObject({ commits: 1, recordsCommitted: 1, puts: 10_000 })
  })
})

describe('the writer thread', () => {
  it('starts also where the process reads its script from the command line', async () => {
    const script = `
      import { LmdbStateBackend } from 'holdfast/lmdb'
      const backend = await LmdbStateBackend.temporary()
      await backend.put(Buffer.from('a'), Buffer.from('1'), { durable: true })
      console.log(backend.stats().commits)
      await backend.close()`
    const args = ['--input-type=module', '-e', script]
    const { stdout } = await promisify(execFile)(process.execPath, args, {
      cwd: import.meta.dirname,
      timeout: 120_000,
    })
    expect(stdout).toBe('1\n')
  })

  // Ended in the middle of a transaction, it would keep the process from ending.
  const endings = [
    ['process.exit()', 'process.exit(3)', 3],
    ['an exception that nobody caught', 'throw new Error("on purpose")', 1],
  ] as const
  it.each(endings.slice(0, runs(2, 1)))(
    'finishes its commit when the process ends by %s',
    async (_, end, code) => {
      const script = `
      import { LmdbStateBackend } from 'holdfast/lmdb'
      const backend = await LmdbStateBackend.temporary()
      const value = Buffer.alloc(100)
      let written = 0
      setInterval(() => {
        for (let i = 0; i < 5_000; i++) void backend.put(Buffer.from('key ' + (written++ * 7_919) % 500_000), value)
      })
      setTimeout(() => { ${end} }, 400)`
      const ended = promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
        cwd: import.meta.dirname,
        timeout: 120_000,
      })
      await expect(ended).rejects.toMatchObject({ code, killed: false })
    },
  )
})

describe('a snapshot', () => {
  it('shows its instant across commits, a clear and a replacement', async () => {
    const backend = await open({ flushEvery: 4 })
    for (let i = 0; i < 10; i++) backend.putSync(key(`k${i}`), key('old'))
    const snapshot = backend.snapshotSync()
    for (let i = 0; i < 10; i++) backend.putSync(key(`k${i}`), key('new'))
    await backend.flush()
    await backend.clear()
    await backend.flush()
    const source = new MemoryStateBackend()
    source.putSync(key('other'), key('x'))
    await backend.replaceAll(source.snapshotSync().blocks())
    expect(await backend.listKeys(key(''))).toEqual([key('other')])
    expect(snapshot.countSync()).toBe(10)
    const seen = [...snapshot.scanSync()].map(([, value]) => text(value))
    expect(new Set(seen)).toEqual(new Set(['old']))
    expect(seen).toHaveLength(10)
    snapshot.closeSync()
  })

  it('is reported with its age and closed at the maximum', async () => {
    const clock = new ManualClock()
    const backend = await open({ clock, maxSnapshotAgeMs: 1_000 })
    const snapshot = backend.snapshotSync()
    expect(backend.stats().openSnapshots).toBe(1)
    expect(backend.stats().oldestSnapshotAgeMs).toBeGreaterThanOrEqual(0)
    clock.advance(1_000)
    expect(() => snapshot.countSync()).toThrow(/older than 1000 ms/)
    expect(backend.stats().openSnapshots).toBe(0)
  })
})

describe('ownership and the directory', () => {
  it('lets one writer in, and any number of readers that see what was flushed', async () => {
    const writer = await open()
    await rejected('FENCED', LmdbStateBackend.open({ path }))
    writer.putSync(key('a'), key('1'))
    await writer.flush()
    const reader = await open({ readOnly: true })
    expect(text(reader.getSync(key('a')))).toBe('1')
    writer.putSync(key('a'), key('2'))
    writer.putSync(key('b'), key('3'))
    expect(text(reader.getSync(key('a')))).toBe('1')
    await writer.flush()
    await new Promise((resolve) => setImmediate(resolve))
    expect(text(reader.getSync(key('a')))).toBe('2')
    expect(await reader.count()).toBe(2)
    await rejected('INVALID_ARGUMENT', reader.put(key('a'), key('4')))
  })

  it('is for this user alone', async () => {
    const backend = await open()
    backend.putSync(key('a'), key('1'))
    await backend.close()
    await rm(join(path, 'data-1.mdb-lock')) // a copy of a store may come without
    const again = await open()
    expect((await stat(path)).mode & 0o777).toBe(0o700)
    expect(await readdir(path)).toContain('data-1.mdb-lock')
    for (const name of await readdir(path)) {
      expect([name, (await stat(join(path, name))).mode & 0o777]).toEqual([name, 0o600])
    }
    expect(await again.sizeOnDisk()).toBeGreaterThan(0)
  })

  it('of something else is refused and left as it was', async () => {
    await mkdir(path)
    await writeFile(join(path, 'notes.txt'), 'mine')
    await rejected('INCOMPATIBLE', LmdbStateBackend.open({ path }))
    expect(await readdir(path)).toEqual(['notes.txt'])
  })

  it('with a file that LMDB cannot open is STORAGE_ERROR', async () => {
    await (await open()).close()
    const lock = join(path, 'data-1.mdb-lock')
    await rm(lock)
    await mkdir(lock)
    await rejected('STORAGE_ERROR', open())
    await rejected('STORAGE_ERROR', open({ readOnly: true }))
    await rm(lock, { recursive: true })
    await (await open()).close()
  })

  it('takes no path that cannot be one', async () => {
    for (const none of ['', 'a\0b']) await rejected('INVALID_ARGUMENT', open({ path: none }))
  })

  it('takes no files of the log that hold next to nothing, or more than a restart should read', async () => {
    for (const logFileBytes of [0, 65_535, 65_536.5, 2 ** 28 + 1]) {
      await rejected('INVALID_ARGUMENT', open({ log: true, logFileBytes }))
    }
    for (const logFileBytes of [65_536, 2 ** 28]) await (await open({ log: true, logFileBytes })).close()
  })

  it('maps what its file needs, whatever it may grow to', async () => {
    await rejected('INVALID_ARGUMENT', open({ maxBytes: 2 ** 43 + 1 }))
    const backend = await open({ maxBytes: 2 ** 43 })
    expect(backend.stats().mapBytes).toBe(64 * MEBIBYTE)
    const snapshot = backend.snapshotSync()
    const value = Buffer.alloc(16 * MEBIBYTE)
    for (let i = 0; i < 6; i++) backend.putSync(key(`large ${i}`), value.fill(i))
    await backend.flush()
    expect(backend.stats().mapBytes).toBeGreaterThan(96 * MEBIBYTE)
    for (let i = 0; i < 6; i++) expect(backend.getSync(key(`large ${i}`))?.at(-1)).toBe(i)
    expect(snapshot.countSync()).toBe(0)
    snapshot[Symbol.dispose]()
  })

  it('of a newer format is refused, and an absent store cannot be opened for reading', async () => {
    await (await open()).close()
    const file = join(path, 'holdfast-lmdb.json')
    const identity = JSON.parse(await readFile(file, 'utf8')) as object
    await writeFile(file, JSON.stringify({ ...identity, format: 3 }))
    await rejected('INCOMPATIBLE', LmdbStateBackend.open({ path }))
    await rejected('STORAGE_ERROR', LmdbStateBackend.open({ path: join(folder, 'none'), readOnly: true }))
  })

  it('without its data is damage, not a new store', async () => {
    const backend = await open()
    backend.putSync(key('a'), key('1'))
    await backend.close()
    await rm(join(path, 'data-1.mdb'))
    await rejected('CORRUPTION', LmdbStateBackend.open({ path }))
    await writeFile(join(path, 'data-1.mdb'), '')
    await rejected('CORRUPTION', LmdbStateBackend.open({ path }))
  })

  it('goes away with a temporary store', async () => {
    // Others make temporary stores meanwhile.
    vi.stubEnv('TMPDIR', folder)
    try {
      const backend = await LmdbStateBackend.temporary()
      expect(await readdir(folder)).toEqual([expect.stringMatching(/^holdfast-lmdb-/)])
      await backend.close()
      expect(await readdir(folder)).toEqual([])
      expect(await openBelow(folder)).toEqual([])
    } finally {
      vi.unstubAllEnvs()
    }
  })
})

describe('damage', () => {
  async function filled(): Promise<void> {
    const backend = await open()
    for (let i = 0; i < 400; i++) backend.putSync(key(`k${i}`), key(`value ${i}`.repeat(10)), { ttlMs: 1e9 })
    await backend.close()
  }

  it('of a record is CORRUPTION with the key, never another value', async () => {
    await filled()
    const file = join(path, 'data-1.mdb')
    const bytes = await readFile(file)
    for (let at = bytes.indexOf('value 123value'); at >= 0; at = bytes.indexOf('value 123value', at + 1)) {
      bytes[at + 3] = (bytes[at + 3] as number) ^ 1
    }
    await writeFile(file, bytes)
    const backend = await open()
    const error = await rejected('CORRUPTION', backend.get(key('k123')))
    expect(error.message).toContain('k123')
    expect(() => [...backend.scanSync({ prefix: key('k12') })]).toThrow(/k123/)
    expect(text(backend.getSync(key('k124')))).toBe('value 124'.repeat(10))
    const report = await backend.verify()
    expect(report.ok).toBe(false)
    expect(report.problems[0]?.what).toContain('k123')
  })

  it('of the state of the store is CORRUPTION on opening, and its newer format INCOMPATIBLE', async () => {
    await (await open()).close()
    const file = join(path, 'data-1.mdb')
    const bytes = await readFile(file)
    const state = Buffer.from('{"format":1,')
    const places: number[] = []
    for (let at = bytes.indexOf(state); at >= 0; at = bytes.indexOf(state, at + 1)) places.push(at)
    expect(places).not.toEqual([])
    for (const at of places) bytes.write('{"format":2,', at)
    await writeFile(file, bytes)
    await rejected('CORRUPTION', open())
    await rejected('CORRUPTION', open({ readOnly: true }))
    for (const at of places) {
      const end = bytes.indexOf('}', at) + 1
      bytes.writeUInt32LE(crc32(bytes.subarray(at, end)), at - 4)
    }
    await writeFile(file, bytes)
    await rejected('INCOMPATIBLE', open())
  })

  it('of a store that is not there is reported, and nothing is made', async () => {
    const { ok, problems } = await LmdbStateBackend.verify(path)
    expect(ok).toBe(false)
    expect(problems[0]?.reason).toContain('it is gone')
    expect(await readdir(folder)).toEqual([])
  })

  it('by a file that was cut off is CORRUPTION on opening, unless all that is missing was free', async () => {
    await filled()
    const whole = (await stat(join(path, 'data-1.mdb'))).size
    const refused: number[] = []
    for (const size of [
      100,
      8_192,
      20_000,
      whole / 4,
      whole / 2,
      whole - 100_000,
      whole - 8_192,
      whole - 1,
    ]) {
      const copy = join(folder, `cut-${size}`)
      await mkdir(copy)
      for (const name of await readdir(path)) await copyFile(join(path, name), join(copy, name))
      await truncate(join(copy, 'data-1.mdb'), Math.floor(size))
      try {
        const backend = await open({ path: copy })
        expect(await backend.count()).toBe(400)
        for (const [, value] of backend.scanSync()) expect(value.length).toBeGreaterThanOrEqual(70)
        // A writer reads more of the file: what is free in it.
        await backend.put(key('k1'), key('again'.repeat(20)), { durable: true })
      } catch (error) {
        expect(error).toMatchObject({ code: 'CORRUPTION' })
        expect(await LmdbStateBackend.verify(copy)).toMatchObject({ ok: false })
        refused.push(size)
      }
    }
    expect(refused.length).toBeGreaterThanOrEqual(5)
  })

  it('of a record is CORRUPTION with the key also where the last pages of the file are free and were never written', async () => {
    const backend = await open()
    for (let i = 0; i < 400; i++) backend.putSync(key(`k${i}`), key(`value ${i}`.repeat(10)), { ttlMs: 1e9 })
    await backend.flush()
    await backend.put(key('large'), new Uint8Array(2 * MEBIBYTE), { durable: true })
    await backend.delete(key('large'), { durable: true })
    // What is in use is written to the first of the free pages again.
    for (let i = 0; i < 4; i++) await backend.put(key('small'), key(`${i}`), { durable: true })
    await backend.close()
    const file = join(path, 'data-1.mdb')
    const bytes = (await readFile(file)).subarray(0, -MEBIBYTE)
    await writeFile(file, bytes)
    const healthy = await open({ readOnly: true })
    expect(await healthy.verify()).toMatchObject({ ok: true, entries: 401 })
    await healthy.close()
    for (let at = bytes.indexOf('value 123value'); at >= 0; at = bytes.indexOf('value 123value', at + 1)) {
      bytes[at + 3] = (bytes[at + 3] as number) ^ 1
    }
    await writeFile(file, bytes)
    for (const readOnly of [true, false]) {
      const damaged = await open({ readOnly })
      await rejected('CORRUPTION', damaged.get(key('k123')))
      expect(text(damaged.getSync(key('k124')))).toBe('value 124'.repeat(10))
      await damaged.close()
    }
    // Where the end is not that of a page, what is missing may be a part of one.
    await truncate(file, bytes.length - 1)
    await rejected('CORRUPTION', open())
  })
})

describe('compression', () => {
  it('makes the store smaller and gives back what was put, also when it is switched off later', async () => {
    const value = key('the same words again and again '.repeat(40))
    const sizes: number[] = []
    for (const compression of ['none', 'lz4'] as const) {
      const backend = await open({ path: join(folder, compression), compression })
      for (let i = 0; i < 2_000; i++) backend.putSync(key(`k${i}`), value)
      await backend.flush()
      sizes.push(backend.stats().usedBytes)
      await backend.close()
    }
    expect(sizes[1]).toBeLessThan((sizes[0] as number) / 2)
    const after = await open({ path: join(folder, 'lz4') })
    expect(text(after.getSync(key('k77')))).toBe(text(value))
  })
})

describe('checkpoints', () => {
  it('with deadlines that are no whole numbers, or before 1970, restore with those rounded up', async () => {
    const clock = new ManualClock(1_000)
    const backend = await open({ clock, sweepIntervalMs: Infinity })
    const builder = new EntryBlockBuilder(1_000)
    for (const [name, expiresAtMs] of Object.entries({ a: 1_500.5, b: -5, c: 2 ** 60 })) {
      builder.add(key(name), key('v'), expiresAtMs)
    }
    async function* blocks() {
      yield builder.take()
    }
    await backend.replaceAll(blocks())
    expect(await backend.verify()).toMatchObject({ ok: true, entries: 3, expiring: 2 })
    expect(await backend.sweep()).toBe(1)
    clock.set(1_500)
    expect(await backend.sweep()).toBe(0)
    expect(backend.containsSync(key('a'))).toBe(true)
    clock.set(1_501)
    expect(backend.containsSync(key('a'))).toBe(false)
    expect(await backend.sweep()).toBe(1)
    expect(backend.containsSync(key('c'))).toBe(true)
  })

  it('of a store being written restore into memory, and of memory into a store', async () => {
    const backend = await open({ flushEvery: 64 })
    for (let i = 0; i < 1_000; i++)
      backend.putSync(key(`k${i}`), key(`v${i}`), i % 3 === 0 ? { ttlMs: 1e9 } : {})
    await backend.flush()
    backend.deleteSync(key('k1'))
    const storage = new MemoryCheckpointStorage()
    const coordinator = new CheckpointCoordinator(backend, { storage })
    await coordinator.restoreLatest()
    const making = coordinator.createCheckpoint()
    backend.putSync(key('k2'), key('later'))
    expect((await making).entryCount).toBe(999)
    await coordinator.shutdown()

    const memory = new MemoryStateBackend()
    const second = new CheckpointCoordinator(memory, { storage })
    await second.restoreLatest()
    expect(text(memory.getSync(key('k2')))).toBe('later')
    memory.putSync(key('k3'), key('from memory'))
    await second.shutdown()

    const restored = await open({ path: join(folder, 'restored') })
    restored.putSync(key('gone'), key('x'))
    await restored.flush()
    const third = new CheckpointCoordinator(restored, { storage })
    await third.restoreLatest()
    expect(text(restored.getSync(key('k3')))).toBe('from memory')
    expect(restored.getSync(key('gone'))).toBeUndefined()
    expect(await restored.count()).toBe(999)
    await third.shutdown()
    await restored.close()
    expect(await LmdbStateBackend.verify(join(folder, 'restored'))).toMatchObject({ ok: true, entries: 999 })
    await expect(open({ path: join(folder, 'restored') }).then((again) => again.count())).resolves.toBe(999)
  })
})

describe('a replacement of a range', () => {
  it('puts all of it in the place of what lay between two bounds, over pages of entries, and keeps the rest', async () => {
    const clock = new ManualClock()
    const backend = await open({ clock })
    const named = (prefix: string, i: number) => `${prefix}${String(i).padStart(4, '0')}`
    for (const prefix of ['a', 'm', 'z']) {
      for (let i = 0; i < 700; i++) backend.putSync(key(named(prefix, i)), key('old'), { ttlMs: 1_000 + i })
    }
    const builder = new EntryBlockBuilder(MEBIBYTE)
    for (let i = 350; i < 1_050; i++) {
      const bytes = key(named('m', i))
      builder.add(bytes, key('new'), i % 2 === 0 ? Infinity : clock.now() + 5_000)
    }
    async function* blocks() {
      yield builder.take()
    }
    await backend.replaceAll(blocks(), { range: { prefix: key('m') } })

    for (let round = 0; round < 2; round++) {
      const store = round === 0 ? backend : await open({ clock })
      const entries = [...store.scanSync()].map(([k, v]) => `${text(k)} ${text(v)}`)
      const expected = [
        ...Array.from({ length: 700 }, (_, i) => `${named('a', i)} old`),
        ...Array.from({ length: 700 }, (_, i) => `${named('m', i + 350)} new`),
        ...Array.from({ length: 700 }, (_, i) => `${named('z', i)} old`),
      ]
      expect(entries).toEqual(expected)
      await store.close()
    }
    expect(await LmdbStateBackend.verify(path)).toMatchObject({ ok: true, entries: 2_100 })
  })

  it('that does not fit beside the rest is refused, and nothing is poisoned; a full store takes its own entries back', async () => {
    const maxBytes = MEBIBYTE
    const backend = await open({ maxBytes })
    const value = key('v'.repeat(1_000))
    const blocksOf = async function* (prefix: string, count: number) {
      const builder = new EntryBlockBuilder(MEBIBYTE)
      for (let i = 0; i < count; i++) {
        const bytes = key(`${prefix}${String(i).padStart(4, '0')}`)
        builder.add(bytes, value, Infinity)
      }
      yield builder.take()
    }
    await backend.replaceAll(blocksOf('a', 400), { range: { prefix: key('a') } })
    await backend.replaceAll(blocksOf('m', 300), { range: { prefix: key('m') } })
    const { usedBytes } = backend.stats()
    const refused = { code: 'BACKEND_FULL', details: { used: usedBytes, capacity: maxBytes } }
    await expect(
      backend.replaceAll(blocksOf('m', 800), { range: { prefix: key('m') } }),
    ).rejects.toMatchObject(refused)
    await expect(
      backend.replaceAll(blocksOf('z', 400), { range: { prefix: key('z') } }),
    ).rejects.toMatchObject(refused)
    expect(await backend.count()).toBe(700)
    expect(backend.stats()).toMatchObject({ usedBytes, entries: 700 })
    // As many as there are, in a store in which nothing more fits.
    const filling = async () => {
      for (let i = 700; ; i++) await backend.put(key(`b${i}`), value, { durable: true })
    }
    await expect(filling()).rejects.toMatchObject({ code: 'BACKEND_FULL' })
    await backend.replaceAll(blocksOf('m', 300), { range: { prefix: key('m') } })
    expect(backend.getSync(key('m0299'))).toEqual(Uint8Array.from(value))
    await backend.deleteRange({ prefix: key('a') }, { durable: true })
    await backend.replaceAll(blocksOf('z', 300), { range: { prefix: key('z') } })
    await backend.close()
    expect(await LmdbStateBackend.verify(path)).toMatchObject({ ok: true })
  })
})

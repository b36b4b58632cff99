// A store with a log before its tree: what is durable is there after a crash, whole and in order, whichever of the two has it; and readers
// beside the writer see it.

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { existsSync } from 'node:fs'
import {
  mkdir,
  open as openFile,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { batchAt, contentAfter, STEP_KEY } from '../../../test/faults/children/lmdb-plan.js'
import { lmdbStores } from '../../../test/support/lmdb-stores.js'
import { asAfterCrash, hasLog, logBegun } from '../../../test/support/logged-stores.js'
import { runs } from '../../../test/support/long.js'
import { WriteBatch } from '../../backend/write-batch.js'
import { seededRandom } from '../../base/random.js'
import { nextTurn } from '../../base/slices.js'
import { Slot } from '../../base/slot.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { WriterPort } from '../commit/writer-port.js'
import { LmdbStateBackend } from '../lmdb-state-backend.js'
import type { LmdbStateBackendOptions } from '../types.js'

let folder: string
let path: string
const open = lmdbStores((newFolder, newPath) => {
  folder = newFolder
  path = newPath
})
const bytes = (text: string) => Buffer.from(text)
const text = (value: Uint8Array | undefined) =>
  value === undefined ? undefined : Buffer.from(value).toString()
const durable = { durable: true } as const
/** The least: the log goes on in its other file again and again. */
const smallLog = { logFileBytes: 64 * 1024 }
const STEPS = runs(300, 100)

/** A store that has a log, and commits only when it must. */
async function openLogged(options: Partial<LmdbStateBackendOptions> = {}): Promise<LmdbStateBackend> {
  const backend = await open({ log: true, flushIntervalMs: Infinity, ...options })
  await logBegun(backend, path)
  return backend
}

function contentOf(backend: LmdbStateBackend): Map<string, string> {
  return new Map([...backend.scanSync()].map(([key, value]) => [text(key) as string, text(value) as string]))
}

/** The content of a store that a crash has left, opened by the next owner; `options`: of that one. */
async function afterCrash(options: Partial<LmdbStateBackendOptions> = {}): Promise<LmdbStateBackend> {
  return await open({
    flushIntervalMs: Infinity,
    path: await asAfterCrash(path, join(folder, 'crashed')),
    ...options,
  })
}

describe('what is durable in a log', () => {
  it('is there after a crash, though no commit was made', async () => {
    const backend = await openLogged()
    const { commits } = backend.stats()
    await backend.put(bytes('a'), bytes('1'), durable)
    await backend.put(bytes('a'), bytes('2'), durable)
    await backend.put(bytes('b'), bytes('1'), { durable: true, ttlMs: 1e9 })
    await backend.delete(bytes('first'), durable)
    backend.putSync(bytes('not'), bytes('flushed'))
    expect(backend.stats().commits).toBe(commits)
    for (const log of [false, true]) {
      const crashed = await afterCrash({ log })
      expect(contentOf(crashed)).toEqual(
        new Map([
          ['a', '2'],
          ['b', '1'],
        ]),
      )
      expect(await crashed.count()).toBe(2)
      await crashed.close()
    }
    expect(hasLog(path)).toBe(true)
  })

  it('is written though groups were announced that never came, and where many come at once; the store is closed then, too', async () => {
    const announcing = vi.spyOn(WriterPort.prototype, 'announce')
    const backend = await openLogged()
    const port = announcing.mock.contexts.at(-1) as WriterPort | undefined
    // Where there is one processor, nothing is announced.
    expect(port === undefined).toBe(availableParallelism() === 1)
    for (let round = 0; round < 20; round++) {
      for (let times = 0; times < round; times++) port?.announce()
      if (round % 2 === 0) await nextTurn()
      const puts = Array.from({ length: round }, (_, i) =>
        backend.put(bytes(`${i}`), bytes(`${round}`), durable),
      )
      port?.announce()
      await Promise.all(puts)
    }
    port?.announce()
    const crashed = await afterCrash()
    expect(contentOf(crashed)).toEqual(
      new Map([...Array.from({ length: 19 }, (_, i) => [`${i}`, '19'] as const), ['first', 'durable']]),
    )
    port?.announce()
    await backend.close()
    announcing.mockRestore()
  })

  it('goes to the tree behind, and then the log that was left goes', async () => {
    const backend = await openLogged()
    await backend.put(bytes('a'), bytes('1'), durable)
    const crashed = await afterCrash({ log: true })
    const at = join(folder, 'crashed')
    await vi.waitUntil(() => !hasLog(at), { timeout: 60_000 })
    const logs = async () => (await readdir(at)).filter((name) => name.startsWith('log-'))
    await vi.waitUntil(async () => (await logs()).length === 0, { timeout: 60_000 })
    await logBegun(crashed, at)
    await crashed.put(bytes('b'), bytes('1'), durable)
    const again = await open({ path: await asAfterCrash(at, join(folder, 'again')) })
    expect(contentOf(again)).toEqual(
      new Map([
        ['a', '1'],
        ['b', '1'],
        ['first', 'durable'],
      ]),
    )
  })

  it('may lack the group that was being written when a commit took it, for who opens the store and who reads it', async () => {
    const backend = await openLogged()
    await backend.put(bytes('a'), bytes('1'), durable)
    const logBefore = await readFile(join(path, 'log-1-0'))
    backend.putSync(bytes('a'), bytes('2'))
    await backend.put(bytes('b'), bytes('1'), durable)
    const { commits } = backend.stats()
    // The same commit would have been made while the group was being written.
    await backend.compact()
    expect(backend.stats().commits).toBe(commits + 1)
    const at = await asAfterCrash(path, join(folder, 'crashed'))
    await writeFile(join(at, 'log-1-0'), logBefore)
    const content = new Map([
      ['a', '2'],
      ['b', '1'],
      ['first', 'durable'],
    ])
    expect(contentOf(await open({ path: at, readOnly: true }))).toEqual(content)
    expect(await LmdbStateBackend.verify(at)).toMatchObject({ ok: true })
    expect(contentOf(await open({ path: at }))).toEqual(content)
  })

  it('is removed by nobody any more when the store that took it over is closed: what lies there then may be another one', async () => {
    const backend = await openLogged()
    await backend.put(bytes('a'), bytes('1'), durable)
    for (let i = 0; i < 5; i++) {
      await (await afterCrash()).close()
      const crashed = await afterCrash()
      expect(text(crashed.getSync(bytes('a')))).toBe('1')
      await crashed.close()
    }
  })

  it('leaves nothing when the store is closed, which is a store without a log then, and copied as one file', async () => {
    const backend = await openLogged()
    await backend.put(bytes('a'), bytes('1'), durable)
    await backend.close()
    expect(hasLog(path)).toBe(false)
    expect((await readdir(path)).filter((name) => name.startsWith('log-'))).toEqual([])
    const copy = await afterCrash()
    expect(text(copy.getSync(bytes('a')))).toBe('1')
  })

  it('is a prefix of the writes, whatever else is written, committed and changed', async () => {
    const backend = await openLogged({ flushEvery: 64, ...smallLog })
    const random = seededRandom(11)
    let step = 0
    for (let round = 0; round < runs(60, 3); round++) {
      let last = 0
      for (let i = 0; i < 1 + random() * 60; i++) {
        backend.writeSync(batchAt(++step))
        if (random() < 0.1) await nextTurn()
        if (random() < 0.1) {
          await backend.flush()
          last = step
        }
        // What is sealed is committed by itself, and others are written meanwhile.
        if (random() < 0.05) backend.snapshotSync({ track: true }).closeSync()
        if (random() < 0.005) await backend.compact()
      }
      const crashed = await afterCrash()
      const found = contentOf(crashed)
      found.delete('first')
      const reached = Number(found.get(STEP_KEY) ?? 0)
      expect(reached).toBeGreaterThanOrEqual(last)
      expect(found).toEqual(contentAfter(reached))
      expect(await crashed.verify()).toMatchObject({ ok: true })
      await crashed.close()
    }
  })

  it('has whole batches, ranges, clears, staged writes, values in place, and replaced content', async () => {
    const backend = await openLogged()
    const slot = new Slot()
    const counted = (byte: number) => {
      backend.updateSync(bytes('counter'), 4, slot)
      slot.bytes.fill(byte, slot.offset, slot.offset + 4)
    }
    const acts: readonly [string, () => unknown][] = [
      ['a batch', () => backend.write(batchAt(1), durable)],
      ['a range', () => backend.deleteRange({ prefix: bytes('left') }, durable)],
      ['in place', () => counted(7)],
      ['in place again', () => counted(8)],
      [
        'staged',
        () => {
          const stage = backend.stage()
          stage.add(new WriteBatch().put(bytes('staged'), bytes('1')).delete(bytes('right-1')))
          stage.apply()
        },
      ],
      ['cleared', () => backend.clear()],
      ['after that', () => backend.putSync(bytes('later'), bytes('1'))],
      [
        'replaced',
        async () => {
          await using memory = new MemoryStateBackend()
          memory.putSync(bytes('other'), bytes('content'))
          await using snapshot = memory.snapshotSync()
          await backend.replaceAll(snapshot.blocks())
        },
      ],
      [
        'a replaced range',
        async () => {
          await using memory = new MemoryStateBackend()
          memory.putSync(bytes('o'), bytes('more'))
          await using snapshot = memory.snapshotSync()
          await backend.put(bytes('p'), bytes('1'), durable)
          await backend.replaceAll(snapshot.blocks(), { range: { prefix: bytes('o') } })
        },
      ],
      ['compacted', () => backend.compact()],
      ['after compaction', () => backend.put(bytes('q'), bytes('1'), durable)],
    ]
    for (const [what, act] of acts) {
      await act()
      await backend.flush()
      const crashed = await afterCrash()
      expect(contentOf(crashed), what).toEqual(contentOf(backend))
      await crashed.close()
    }
    expect(hasLog(path)).toBe(true)
  })

  it('expires at its time, and not before; time does not go back', async () => {
    const clock = new ManualClock(1_000_000)
    const backend = await openLogged({ clock, sweepIntervalMs: Infinity })
    await backend.put(bytes('a'), bytes('1'), { durable: true, ttlMs: 1_000 })
    await backend.put(bytes('b'), bytes('1'), { durable: true, ttlMs: 9_000 })
    clock.advance(5_000)
    await backend.put(bytes('c'), bytes('1'), durable)
    const crashed = await afterCrash({ clock: new ManualClock(0), sweepIntervalMs: Infinity })
    expect([...contentOf(crashed).keys()]).toEqual(['b', 'c', 'first'])
  })

  it('goes through both files in turn, and is never more than they hold', async () => {
    const backend = await openLogged({ flushEvery: 1_000_000, ...smallLog })
    const value = Buffer.alloc(12 * 1024, 'v')
    const before = backend.stats().commits
    for (let i = 0; i < runs(45, 20); i++) {
      value.write(`${i}`.padStart(4))
      await backend.put(bytes(`key ${i % 4}`), value, durable)
      const files = (await readdir(path)).filter((name) => name.startsWith('log-'))
      expect(files).toEqual(['log-1-0', 'log-1-1'])
      for (const name of files) expect((await stat(join(path, name))).size).toBe(smallLog.logFileBytes)
      if (i % 5 !== 4) continue
      const crashed = await afterCrash()
      for (let k = 0; k < 4; k++) {
        const latest = i - ((i - k + 4) % 4)
        expect(
          text(crashed.getSync(bytes(`key ${k}`)))
            ?.slice(0, 4)
            .trim(),
        ).toBe(`${latest}`)
      }
      await crashed.close()
    }
    expect(backend.stats().commits).toBeGreaterThan(before)
  })

  it('does not hold what is too large for it: that goes to the tree at once', async () => {
    const backend = await openLogged()
    const { commits } = backend.stats()
    await backend.put(bytes('large'), Buffer.alloc(5 * 1024 * 1024, 'v'), durable)
    expect(backend.stats().commits).toBe(commits + 1)
    await backend.put(bytes('small'), bytes('1'), durable)
    expect(backend.stats().commits).toBe(commits + 1)
    const crashed = await afterCrash()
    expect(crashed.getSync(bytes('large'))?.length).toBe(5 * 1024 * 1024)
    expect(text(crashed.getSync(bytes('small')))).toBe('1')
  })
})

describe('who reads beside a process that writes a log', () => {
  it('sees what is durable at once, in order, and keeps what a snapshot saw', async () => {
    const backend = await openLogged({ flushEvery: 50, ...smallLog })
    const reader = await open({ readOnly: true })
    let seen = 0
    for (let step = 1; step <= STEPS; step++) {
      backend.writeSync(batchAt(step))
      if (step % 7 === 0) await backend.flush()
      else if (step % 5 === 0) await nextTurn()
      await nextTurn()
      const snapshot = reader.snapshotSync()
      const found = contentOf(reader)
      expect(await reader.count()).toBe(found.size)
      expect(reader.stats().entries).toBe(found.size)
      found.delete('first')
      const reached = Number(found.get(STEP_KEY) ?? 0)
      expect(reached).toBeGreaterThanOrEqual(seen)
      if (step % 7 === 0) expect(reached).toBe(step)
      seen = reached
      expect(found).toEqual(contentAfter(reached))
      const before = [...snapshot.scanSync()].length
      backend.putSync(bytes(STEP_KEY), bytes(`${step}`))
      await nextTurn()
      expect([...snapshot.scanSync()]).toHaveLength(before)
      snapshot.closeSync()
    }
    expect(await reader.verify()).toMatchObject({ ok: true })
    await backend.close()
    await nextTurn()
    expect(text(reader.getSync(bytes(STEP_KEY)))).toBe(`${STEPS}`)
  })

  it('sees what a crash has left, without a writer, and what the next one makes of it', async () => {
    const backend = await openLogged()
    await backend.put(bytes('a'), bytes('1'), durable)
    const at = await asAfterCrash(path, join(folder, 'crashed'))
    const reader = await open({ path: at, readOnly: true })
    expect(contentOf(reader)).toEqual(
      new Map([
        ['a', '1'],
        ['first', 'durable'],
      ]),
    )
    expect(hasLog(at)).toBe(true)
    const next = await open({ path: at, log: true })
    await next.put(bytes('a'), bytes('2'), durable)
    await nextTurn()
    expect(text(reader.getSync(bytes('a')))).toBe('2')
    await next.clear()
    await next.flush()
    await nextTurn()
    expect(contentOf(reader)).toEqual(new Map())
    expect(await reader.count()).toBe(0)
  })
})

describe('a log that is damaged, gone or somebody else’s', () => {
  const flip = async (at: string, position: number) => {
    const file = await openFile(at, 'r+')
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, position)
    byte[0] = (byte[0] as number) ^ 0x10
    await file.write(byte, 0, 1, position)
    await file.close()
  }

  it('is CORRUPTION for whoever opens the store, and a problem for verify, where a group is damaged that others follow', async () => {
    const backend = await openLogged()
    for (let i = 0; i < 5; i++) await backend.put(bytes(`k${i}`), bytes('value'), durable)
    const at = await asAfterCrash(path, join(folder, 'crashed'))
    expect(await LmdbStateBackend.verify(at)).toMatchObject({ ok: true })
    await flip(join(at, 'log-1-0'), 4_096 + 60)
    await expect(open({ path: at })).rejects.toMatchObject({ code: 'CORRUPTION' })
    expect(await LmdbStateBackend.verify(at)).toMatchObject({ ok: false, problems: [{ what: 'log' }] })
  })

  it('is so, too, where it is of an earlier time than the tree, or of a later one', async () => {
    const backend = await openLogged()
    for (let i = 0; i < 3; i++) await backend.put(bytes(`k${i}`), bytes('value'), durable)
    const earlier = await asAfterCrash(path, join(folder, 'earlier'))
    for (let i = 0; i < 3; i++) {
      await backend.put(bytes(`l${i}`), bytes('value'), durable)
      // The tree takes it.
      await backend.compact()
      await backend.put(bytes(`m${i}`), bytes('value'), durable)
    }
    const later = await asAfterCrash(path, join(folder, 'later'))
    for (const at of [earlier, later]) expect(await LmdbStateBackend.verify(at)).toMatchObject({ ok: true })
    const names = ['log-1-0', 'log-1-1']
    const logs = (at: string) => Promise.all(names.map((name) => readFile(join(at, name))))
    const [earlierLog, laterLog] = [await logs(earlier), await logs(later)]
    for (const [at, log, reason] of [
      [later, earlierLog, /^it ends with group \d+, before \d+$/],
      [earlier, laterLog, /^the store ends with commit \d+, and the log needs \d+$/],
    ] as const) {
      await Promise.all(names.map((name, i) => writeFile(join(at, name), log[i] as Buffer)))
      expect(await LmdbStateBackend.verify(at)).toEqual(
        expect.objectContaining({
          ok: false,
          problems: [{ what: 'log', reason: expect.stringMatching(reason) }],
        }),
      )
      // Whoever tries changes nothing: each attempt ends like the first one.
      for (let attempt = 0; attempt < 4; attempt++) {
        await expect(open({ path: at })).rejects.toMatchObject({ code: 'CORRUPTION' })
      }
    }
  })

  it('is no problem for verify beside a writer that commits, compacts and begins its files anew', async () => {
    const backend = await openLogged({ flushEvery: 8, ...smallLog })
    const value = Buffer.alloc(2_500)
    const end = { isOver: false }
    // No more often than a process can read the store.
    let isToCompact = false
    const writing = (async () => {
      for (let i = 0; !end.isOver; i++) {
        await backend.put(bytes(`key ${i % 5}`), value, durable)
        if (i % 50 < 49 || !isToCompact) continue
        isToCompact = false
        await backend.compact()
      }
    })()
    for (let i = 0; i < runs(10, 1); i++) {
      isToCompact = true
      expect(await LmdbStateBackend.verify(path)).toMatchObject({ ok: true, problems: [] })
      expect(await backend.verify()).toMatchObject({ ok: true, problems: [] })
    }
    end.isOver = true
    await writing
  })

  it('goes on in its other file right after the store was compacted', async () => {
    const backend = await openLogged(smallLog)
    const value = Buffer.alloc(14_000)
    for (let i = 0; i < 9; i++) {
      // Four of them fill a file.
      if (i > 0 && i % 4 === 0) await backend.compact()
      await backend.put(bytes(`key ${i}`), value, durable)
    }
    expect(contentOf(await afterCrash()).size).toBe(10)
  })

  it('is not begun while the store is compacted, but afterwards', async () => {
    const backend = await open({ log: true, flushIntervalMs: Infinity })
    const compacted = backend.compact()
    await vi.waitUntil(() => existsSync(join(path, 'data-2.mdb')), { timeout: 60_000, interval: 1 })
    const written = backend.put(bytes('a'), bytes('1'), durable)
    expect(backend.stats().log).toBe('none')
    await Promise.all([written, compacted])
    await logBegun(backend, path)
  })

  it('is INCOMPATIBLE for who opens the store and for verify where a newer version has written it', async () => {
    const backend = await openLogged()
    await backend.put(bytes('a'), bytes('1'), durable)
    const at = await asAfterCrash(path, join(folder, 'crashed'))
    const file = await openFile(join(at, 'log-1-0'), 'r+')
    await file.write(Buffer.of(2), 0, 1, 8)
    await file.close()
    const incompatible = { code: 'INCOMPATIBLE', details: { found: 'version 2' } }
    await expect(open({ path: at })).rejects.toMatchObject(incompatible)
    await expect(LmdbStateBackend.verify(at)).rejects.toMatchObject(incompatible)
  })

  it('is told of where it cannot be made, once, and the store goes on without it', async () => {
    // In the place of a file of the log there is what cannot be removed as one.
    const backend = await open({ log: true })
    await mkdir(join(path, 'log-1-0'))
    const told: Error[] = []
    const heard: unknown[] = []
    const hear = (message: unknown) => void heard.push(message)
    backend.on('logUnavailable', ({ error }) => told.push(error))
    subscribe('holdfast:engine.logUnavailable', hear)
    try {
      expect(backend.stats().log).toBe('none')
      await backend.put(bytes('a'), bytes('1'), durable)
      await vi.waitUntil(() => backend.stats().log === 'unavailable', { timeout: 60_000 })
      await backend.put(bytes('a'), bytes('2'), durable)
    } finally {
      unsubscribe('holdfast:engine.logUnavailable', hear)
    }
    const [error] = told
    expect(told).toEqual([expect.objectContaining({ code: 'STORAGE_ERROR' })])
    expect(heard).toEqual([{ backend: 'lmdb', path, error }])
    expect(hasLog(path)).toBe(false)
    expect(text(backend.getSync(bytes('a')))).toBe('2')
  })

  it('is CORRUPTION for each read beside the writer, also for the second one of a turn', async () => {
    const backend = await openLogged()
    await backend.put(bytes('a'), bytes('1'), durable)
    const reader = await open({ readOnly: true })
    expect(text(reader.getSync(bytes('a')))).toBe('1')
    await nextTurn()
    await flip(join(path, 'log-1-0'), 50)
    const corrupt = expect.objectContaining({ code: 'CORRUPTION' })
    for (let i = 0; i < 3; i++) expect(() => reader.getSync(bytes('a'))).toThrow(corrupt)
    await flip(join(path, 'log-1-0'), 50)
    expect(text(reader.getSync(bytes('a')))).toBe('1')
  })

  it('is CORRUPTION where a file is missing, cut off at its beginning, or of another store', async () => {
    const backend = await openLogged()
    await backend.put(bytes('a'), bytes('1'), durable)
    const otherPath = join(folder, 'other')
    await logBegun(await open({ path: otherPath, log: true }), otherPath)
    for (const damage of [
      (at: string) => rm(at),
      (at: string) => writeFile(at, ''),
      (at: string) => flip(at, 50),
      async (at: string) => writeFile(at, await readFile(join(otherPath, 'log-1-0'))),
    ]) {
      const at = await asAfterCrash(path, join(folder, 'crashed'))
      await damage(join(at, 'log-1-0'))
      await expect(open({ path: at })).rejects.toMatchObject({ code: 'CORRUPTION' })
    }
  })

  it('is CORRUPTION for whoever opens or reads the store, and a problem for verify, where its last groups are cut off', async () => {
    const backend = await openLogged(smallLog)
    for (let i = 0; i < 5; i++) await backend.put(bytes(`k${i}`), bytes('value'), durable)
    const at = await asAfterCrash(path, join(folder, 'crashed'))
    const log = join(at, 'log-1-0')
    const end = (await readFile(log)).findLastIndex((byte) => byte !== 0) + 1
    await truncate(log, end - 100)
    for (const readOnly of [true, false]) {
      await expect(open({ path: at, readOnly })).rejects.toMatchObject({ code: 'CORRUPTION' })
    }
    const reason = `its files have ${end - 100} and 65536 bytes, which is not how they were made`
    expect(await LmdbStateBackend.verify(at)).toMatchObject({
      ok: false,
      problems: [{ what: 'log', reason }],
    })
  })

  it('may be of any length where a crash came before the store was said to have it, or after it was said to have none', async () => {
    const backend = await openLogged(smallLog)
    await backend.put(bytes('a'), bytes('1'), durable)
    await backend.close()
    for (const lengths of [[0], [4_096], [65_536, 0], [65_536, 30_000], [30_000, 65_536], [65_536, 65_536]]) {
      const at = await asAfterCrash(path, join(folder, 'crashed'))
      for (const [place, length] of lengths.entries()) {
        await writeFile(join(at, `log-1-${place}`), new Uint8Array(length))
      }
      expect(await LmdbStateBackend.verify(at)).toMatchObject({ ok: true })
      for (const readOnly of [true, false]) {
        const crashed = await open({ path: at, readOnly })
        expect(text(crashed.getSync(bytes('a')))).toBe('1')
        await crashed.close()
      }
    }
  })

  it('acknowledges nothing more where its files are removed or replaced', async () => {
    for (const harm of [
      (at: string) => rm(at),
      (at: string) => rename(at, `${at}-elsewhere`),
      async (at: string) => {
        await writeFile(`${at}-copy`, await readFile(at))
        await rename(`${at}-copy`, at)
      },
    ]) {
      const backend = await openLogged()
      await harm(join(path, 'log-1-0'))
      await expect(backend.put(bytes('a'), bytes('1'), durable)).rejects.toMatchObject({
        code: 'STORAGE_ERROR',
      })
      await expect(backend.flush()).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
      await backend.close().catch(() => {})
      await rm(path, { recursive: true })
    }
  })

  it('tells whoever waits for nothing new, too, that what was acknowledged is not to be found any more', async () => {
    const backend = await openLogged()
    await backend.put(bytes('a'), bytes('1'), durable)
    await backend.flush()
    await rm(join(path, 'log-1-0'))
    await expect(backend.flush()).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    await expect(backend.put(bytes('a'), bytes('2'), durable)).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
    })
    await backend.close().catch(() => {})
  })

  it('acknowledges nothing more where another owner has taken over, and that one has all that was acknowledged', async () => {
    const first = await openLogged()
    await first.put(bytes('a'), bytes('first'), durable)
    first.putSync(bytes('b'), bytes('never'))
    const second = await open({ takeOver: true, log: true, flushIntervalMs: Infinity })
    expect(contentOf(second)).toEqual(
      new Map([
        ['a', 'first'],
        ['first', 'durable'],
      ]),
    )
    await expect(first.put(bytes('a'), bytes('late'), durable)).rejects.toMatchObject({ code: 'FENCED' })
    await second.put(bytes('a'), bytes('second'), durable)
    await first.close().catch(() => {})
    // What is copied is not to go meanwhile: the former log is removed when the tree has it.
    await logBegun(second, path)
    const crashed = await afterCrash()
    expect(contentOf(crashed)).toEqual(
      new Map([
        ['a', 'second'],
        ['first', 'durable'],
      ]),
    )
  })
})

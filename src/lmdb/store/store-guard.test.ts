import { copyFile, link, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { lmdbStores } from '../../../test/support/lmdb-stores.js'
import { ManualClock } from '../../testing/manual-clock.js'
import type { LmdbStateBackend } from '../lmdb-state-backend.js'

const bytes = (text: string) => Buffer.from(text)
const text = (value: Uint8Array | undefined) =>
  value === undefined ? undefined : Buffer.from(value).toString()
const nextTurn = () => new Promise((resolve) => setImmediate(resolve))

let folder: string
let path: string
const open = lmdbStores((made, store) => {
  folder = made
  path = store
})

function putDurably(store: LmdbStateBackend, key: string, value: string): Promise<void> {
  return store.put(bytes(key), bytes(value), { durable: true })
}

describe('a store whose files go away under its writer', () => {
  it.each<[string, () => Promise<unknown>]>([
    // More than once where the log is made in it meanwhile.
    ['its directory is removed', () => rm(path, { recursive: true, maxRetries: 10 })],
    ['its directory is moved away', () => rename(path, join(folder, 'elsewhere'))],
    ['its data file is removed', () => rm(join(path, 'data-1.mdb'))],
    [
      'another file takes the place of its data file',
      async () => {
        await copyFile(join(path, 'data-1.mdb'), join(path, 'copy'))
        await rename(join(path, 'copy'), join(path, 'data-1.mdb'))
      },
    ],
    ['its table of readers is removed', () => rm(join(path, 'data-1.mdb-lock'))],
  ])('acknowledges nothing more when %s', async (_, happen) => {
    const store = await open()
    await putDurably(store, 'before', '1')
    let failures = 0
    store.on('failed', () => failures++)
    await happen()
    await expect(store.flush()).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    await expect(putDurably(store, 'after', '2')).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    expect(failures).toBe(1)
    expect(text(store.getSync(bytes('before')))).toBe('1')
  })
})

describe('a store that another owner takes over', () => {
  it('writes nothing more: not where its lease file was removed, and not where it was taken over from', async () => {
    for (const way of ['removed', 'taken over']) {
      const first = await open({ path: join(folder, way) })
      await putDurably(first, 'k', 'first')
      if (way === 'removed') await rm(join(folder, way, '.lease-0000000001'))
      const second = await open({ path: join(folder, way), takeOver: way === 'taken over' })
      await putDurably(second, 'k', 'second')
      first.putSync(bytes('k'), bytes('late'))
      await expect(first.flush(), way).rejects.toMatchObject({ code: 'FENCED' })
      await expect(putDurably(first, 'k', 'later')).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
      await first.close().catch(() => {})
      await putDurably(second, 'other', 'second')
      await second.close()
      const third = await open({ path: join(folder, way) })
      expect(text(third.getSync(bytes('k')))).toBe('second')
    }
  })

  it('does not remove what the new owner has put in place', async () => {
    const first = await open()
    await putDurably(first, 'k', 'first')
    const second = await open({ takeOver: true })
    await second.compact()
    await expect(first.compact()).rejects.toMatchObject({ code: 'FENCED' })
    await putDurably(second, 'k', 'second')
    await second.close()
    await first.close().catch(() => {})
    expect(text((await open()).getSync(bytes('k')))).toBe('second')
  })

  it('is opened as soon as its owner lets go, where somebody waits for that', async () => {
    const first = await open()
    await putDurably(first, 'k', 'first')
    await expect(open()).rejects.toMatchObject({ code: 'FENCED' })
    const waiting = open({ waitForOwnerMs: 60_000 })
    await nextTurn()
    await first.close()
    expect(text((await waiting).getSync(bytes('k')))).toBe('first')
    await expect(open({ waitForOwnerMs: -1 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})

describe('a reader', () => {
  it('is never behind the time of the store', async () => {
    const writer = await open({ clock: new ManualClock(1_000_000), sweepIntervalMs: Infinity })
    writer.putSync(bytes('short'), bytes('1'), { ttlMs: 100 })
    await writer.flush()
    const reader = await open({ readOnly: true, clock: new ManualClock(1_000_050) })
    const behind = await open({ readOnly: true, clock: new ManualClock(10) })
    expect(text(behind.getSync(bytes('short')))).toBe('1')
    await writer.close()
    const later = await open({ clock: new ManualClock(1_000_200), sweepIntervalMs: Infinity })
    await putDurably(later, 'k', '1')
    await nextTurn()
    for (const each of [reader, behind, await open({ readOnly: true, clock: new ManualClock(10) })]) {
      expect(each.getSync(bytes('short'))).toBeUndefined()
      expect([...each.scanSync()].map(([key]) => text(key))).toEqual(['k'])
    }
  })

  it('reads the file that is in place now, and fails where there is none', async () => {
    const writer = await open()
    await putDurably(writer, 'k', 'old')
    await mkdir(join(folder, 'other'))
    const other = await open({ path: join(folder, 'other') })
    await putDurably(other, 'k', 'restored')
    await other.close()
    await writer.close()
    const reader = await open({ readOnly: true })
    expect(text(reader.getSync(bytes('k')))).toBe('old')
    await writeFile(join(path, 'restored'), await readFile(join(folder, 'other', 'data-1.mdb')))
    await rename(join(path, 'restored'), join(path, 'data-1.mdb'))
    await nextTurn()
    expect(text(reader.getSync(bytes('k')))).toBe('restored')
    await rm(path, { recursive: true })
    await nextTurn()
    expect(() => reader.getSync(bytes('k'))).toThrow(expect.objectContaining({ code: 'STORAGE_ERROR' }))
  })

  it('is not opened for writing where its files have names in another directory, whose owner would be another one', async () => {
    // A log is begun beside the first writes, and named by a new file of identity, which has no other name then.
    const writer = await open({ log: false })
    await putDurably(writer, 'k', '1')
    const linked = join(folder, 'linked')
    await mkdir(linked)
    for (const name of await readdir(path)) {
      if (!name.startsWith('.lease')) await link(join(path, name), join(linked, name))
    }
    await expect(open({ path: linked })).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      message: expect.stringContaining('hard link'),
    })
    await putDurably(writer, 'k', '2')
    const reader = await open({ path: linked, readOnly: true })
    expect(text(reader.getSync(bytes('k')))).toBe('2')
    await reader.close()
    await writer.close()
    await expect(open()).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    await rm(linked, { recursive: true })
    const again = await open()
    expect(text(again.getSync(bytes('k')))).toBe('2')
  })
})

// The directory of a store while several change it, or look at it, at once.

import childProcess from 'node:child_process'
import { statSync } from 'node:fs'
import { readdir, writeFile } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { lmdbStores } from '../../../test/support/lmdb-stores.js'
import { Listeners } from '../../base/events.js'
import { LmdbEngine } from '../lmdb-engine.js'
import { settingsFrom } from '../settings.js'
import type { LmdbStateBackendEvents } from '../types.js'
import { openForReading, ServedStore } from './served-store.js'
import { StoreDirectory } from './store-directory.js'

const bytes = (text: string) => Buffer.from(text)

let path: string
const openStore = lmdbStores((_, store) => {
  path = store
})

const directories: StoreDirectory[] = []
afterEach(async () => {
  for (const directory of directories.splice(0)) await directory.release().catch(() => {})
})

async function open({ readOnly = false, takeOver = false } = {}): Promise<StoreDirectory> {
  const directory = await StoreDirectory.open(path, {
    readOnly,
    takeOver,
    waitForOwnerMs: 0,
    commitTimeoutMs: 30_000,
  })
  directories.push(directory)
  return directory
}

/** A store with one entry, which nobody has open. */
async function made(): Promise<void> {
  const store = await openStore()
  await store.put(bytes('k'), bytes('v'))
  await store.close()
}

const dataFiles = async () => (await readdir(path)).filter((name) => name.startsWith('data-')).sort()

it('is opened without another process, whoever has let go of it, and taken over so within a process', async () => {
  await made()
  const starts = vi.spyOn(childProcess, 'spawn')
  syncBuiltinESMExports()
  try {
    await (await open()).release()
    await open()
    await open({ takeOver: true })
    expect(starts).not.toHaveBeenCalled()
  } finally {
    starts.mockRestore()
    syncBuiltinESMExports()
  }
})

describe('the next data file', () => {
  it('is no leftover while it is being made, for removals that have begun before, and for those that begin then', async () => {
    await made()
    const directory = await open()
    const before = directory.removeLeftovers()
    const next = await directory.nextDataPath()
    await writeFile(next, 'a copy')
    await Promise.all([before, directory.removeLeftovers()])
    await directory.sealNextData()
    const beside = directory.removeLeftovers()
    await directory.adoptNextData()
    await beside
    expect(await dataFiles()).toEqual(expect.arrayContaining(['data-2.mdb', 'data-2.mdb-lock']))
    expect(directory.dataPath).toBe(next)
    await directory.removeLeftovers()
    expect(await dataFiles()).toEqual(['data-2.mdb', 'data-2.mdb-lock'])
  })

  it('is one once it is dropped', async () => {
    await made()
    const directory = await open()
    await writeFile(await directory.nextDataPath(), 'half a copy')
    await directory.dropNextData()
    expect(await dataFiles()).toEqual(['data-1.mdb', 'data-1.mdb-lock'])
  })

  it('stays when a snapshot is closed that was the last to read the file before the present one', async () => {
    const store = await openStore()
    await store.put(bytes('k'), bytes('v'))
    const snapshot = store.snapshotSync()
    await store.compact()
    const compacting = store.compact()
    await vi.waitUntil(async () => (await dataFiles()).includes('data-3.mdb'), {
      timeout: 60_000,
      interval: 1,
    })
    snapshot.closeSync()
    await compacting
    await store.put(bytes('l'), bytes('w'), { durable: true })
    await store.close()
    expect(await dataFiles()).toEqual(['data-3.mdb', 'data-3.mdb-lock'])
    const again = await openStore()
    expect(await again.count()).toBe(2)
  })

  it('of a new owner is left alone by the one before, whose copy comes late', async () => {
    await made()
    const former = await open()
    await writeFile(await former.nextDataPath(), 'a copy')
    const present = await open({ takeOver: true })
    const next = await present.nextDataPath()
    await writeFile(next, 'another copy')
    await present.sealNextData()
    const { ino } = statSync(`${next}-lock`)
    await expect(former.sealNextData()).rejects.toMatchObject({ code: 'FENCED' })
    await expect(former.dropNextData()).rejects.toMatchObject({ code: 'FENCED' })
    expect(statSync(`${next}-lock`).ino).toBe(ino)
    expect(await dataFiles()).toContain('data-2.mdb')
  })
})

describe('a reader beside the process that writes', () => {
  it('learns of a log that is begun while it opens the store, whenever that is', async () => {
    await made()
    const writer = await open()
    for (let token = 1; token <= 50; token++) {
      const log = { id: `log ${token}`, token }
      const [reader] = await Promise.all([open({ readOnly: true }), writer.beginLog(log)])
      reader.refresh()
      expect(reader.log).toEqual(log)
    }
  })

  it('follows the writer to a compacted file also where the old one goes right after it has looked', async () => {
    const writer = await openStore()
    await writer.put(bytes('k'), bytes('v'))
    await writer.flush()
    const directory = await open({ readOnly: true })
    const store = new ServedStore(openForReading(directory), directory, { readOnly: true })
    await writer.compact()
    await writer.put(bytes('l'), bytes('w'))
    await writer.flush()
    vi.spyOn(directory, 'refresh').mockImplementationOnce(() => {})
    store.refreshNow()
    expect(store.view.entryCount).toBe(2)
    await store.close()
  })

  it('opens the compacted file where the one that it was about to open goes before', async () => {
    const writer = await openStore()
    await writer.put(bytes('k'), bytes('v'))
    await writer.flush()
    const directory = await open({ readOnly: true })
    await writer.compact()
    const engine = await LmdbEngine.openReadOnly({
      settings: settingsFrom({ path, readOnly: true }),
      directory,
      listeners: new Listeners<LmdbStateBackendEvents>(['expired', 'failed', 'logUnavailable']),
    })
    expect(engine.entries).toBe(1)
    await engine.close()
  })
})

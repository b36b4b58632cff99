import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DurableDirectory } from '../../files/durable-directory.js'
import { LmdbStateBackend } from '../lmdb-state-backend.js'
import { inspectDataFile } from '../store/data-file.js'
import { FileEnd } from './file-end.js'

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
})

afterEach(async () => {
  await rm(folder, { recursive: true })
})

describe('the end of a data file', () => {
  it.each([
    { entries: 1_614, valueBytes: 20, keptEvery: 30 },
    { entries: 3_094, valueBytes: 100, keptEvery: 200 },
    { entries: 3_415, valueBytes: 500, keptEvery: 79 },
    { entries: 3_877, valueBytes: 20, keptEvery: 200 },
  ])('is behind its last page after $entries entries of which most went in one commit', async (shape) => {
    const { entries, valueBytes, keptEvery } = shape
    const path = join(folder, 'store')
    const backend = await LmdbStateBackend.open({ path })
    const key = (i: number) => Buffer.from(`key ${i}`)
    await backend.clear()
    await backend.flush()
    for (let i = 0; i < entries; i++) {
      backend.putSync(key(i), new Uint8Array(valueBytes).fill(i), { ttlMs: 1e9 })
    }
    await backend.flush()
    for (let i = 0; i < entries; i++) if (i % keptEvery !== 0) backend.deleteSync(key(i))
    await backend.flush()
    const files = new DurableDirectory(path)
    expect(await inspectDataFile(files, 'data-1.mdb')).toMatchObject({ state: 'whole' })
    await backend.close()
    expect(await inspectDataFile(files, 'data-1.mdb')).toMatchObject({ state: 'whole' })
    expect(await LmdbStateBackend.verify(path)).toMatchObject({ ok: true })
  })

  it('is never moved towards the beginning, and no file is made', async () => {
    const path = join(folder, 'file')
    await writeFile(path, new Uint8Array(100_000).fill(1))
    const end = new FileEnd(path)
    end.reach(8_192)
    expect((await stat(path)).size).toBe(100_000)
    end.reach(300_000)
    expect((await stat(path)).size).toBe(300_000)
    await rm(path)
    end.reach(400_000)
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' })
  })
})

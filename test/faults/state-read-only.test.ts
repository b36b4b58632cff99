import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { LmdbStateBackend } from '../../src/lmdb/lmdb-state-backend.js'
import { defineState, StateStore, uint32, utf8, value } from '../../src/state.js'
import { fill, keyOf, readers } from './children/versioned-store.js'
import { type CompiledSources, compileSources } from './compile-sources.js'

let sources: CompiledSources
let folder: string

beforeAll(async () => {
  sources = await compileSources()
  folder = await mkdtemp(join(tmpdir(), 'holdfast-readers-'))
})

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

async function readElsewhere(path: string): Promise<unknown> {
  const script = sources.pathOf('test/faults/children/read-state.ts')
  const { stdout } = await promisify(execFile)(process.execPath, [script, path])
  return JSON.parse(stdout)
}

describe('a typed store that another process has open for writing', () => {
  it('is queried by one that only reads, which writes nothing', async () => {
    const path = join(folder, 'store')
    await using backend = await LmdbStateBackend.open({ path })
    const store = await StateStore.open(backend, readers)
    for (let i = 0; i < 50; i++) {
      store.total.add(keyOf(i), i)
      store.profile.put(keyOf(i), { last: `Lee${i % 10}` })
      store.visits.put(keyOf(i), i)
    }
    store.advanceWatermark(1_000)
    await backend.flush()
    expect(await readElsewhere(path)).toEqual({
      newer: 'INCOMPATIBLE',
      other: 'INCOMPATIBLE',
      total: { euros: 3 },
      visits: 3,
      byLast: 5,
      entries: 50,
      put: 'INVALID_ARGUMENT',
      watermark: ['INVALID_ARGUMENT', 1_000],
      planned: [0, 0, 0],
      migrated: 'nothing',
    })
  })

  it('is not opened by a newer program that only reads: it would have to record itself', async () => {
    const path = join(folder, 'older')
    await using backend = await LmdbStateBackend.open({ path })
    await fill(backend)
    await backend.flush()
    expect(await readElsewhere(path)).toEqual({ newer: 'INCOMPATIBLE', other: 'nothing' })
  })

  it('is not opened for reading before it was opened for writing', async () => {
    const path = join(folder, 'empty')
    await using writer = await LmdbStateBackend.open({ path })
    await writer.flush()
    await using reader = await LmdbStateBackend.open({ path, readOnly: true })
    const schema = defineState({ key: utf8, states: { visits: value(uint32) } })
    await expect(StateStore.open(reader, schema)).rejects.toMatchObject({
      code: 'INCOMPATIBLE',
      message: expect.stringContaining('for writing'),
    })
  })
})

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { WriteBatch } from '../backend/write-batch.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

let folder: string
let backend: LmdbStateBackend

/** A store that holds two entries, and nothing of them in memory. */
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
  const before = await LmdbStateBackend.open({ path: folder })
  before.putSync(bytes('stored'), bytes('v'))
  before.putSync(bytes('gone'), bytes('v'))
  await before.close()
  backend = await LmdbStateBackend.open({ path: folder })
})

afterEach(async () => {
  await backend.close()
  await rm(folder, { recursive: true, force: true })
})

describe('what gets are counted as', () => {
  it('is nothing for a look at whether there is a key, and for what a batch expects', async () => {
    backend.putSync(bytes('buffered'), bytes('v'))
    const before = backend.stats()
    for (const key of ['stored', 'buffered', 'nowhere']) backend.containsSync(bytes(key))
    expect(await backend.contains(bytes('stored'))).toBe(true)
    backend.writeSync(
      new WriteBatch().expect(bytes('stored'), bytes('v')).expect(bytes('buffered'), bytes('v')),
    )
    const { gets, hits, misses, bufferHits, storeReads } = before
    expect(backend.stats()).toMatchObject({ gets, hits, misses, bufferHits, storeReads })
  })

  it('adds up: every get was answered by memory or by the store', async () => {
    backend.putSync(bytes('buffered'), bytes('v'))
    backend.deleteSync(bytes('gone'))
    for (const key of ['stored', 'buffered', 'gone', 'nowhere']) backend.getSync(bytes(key))
    await backend.getMany([bytes('stored'), bytes('gone')])
    expect(backend.stats()).toMatchObject({ gets: 6, hits: 3, misses: 3 })
    await backend.clear()
    backend.getSync(bytes('stored'))
    const { gets, bufferHits, storeReads } = backend.stats()
    expect([gets, bufferHits + storeReads]).toEqual([7, 7])
  })
})

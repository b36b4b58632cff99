import { afterEach, describe, expect, it } from 'vitest'
import { EntryBlockBuilder } from '../backend/entry-block.js'
import { WriteBatch } from '../backend/write-batch.js'
import { isStateError, type StateError } from '../base/errors.js'
import { seededRandom } from '../base/random.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'

const MAX_BYTES = 1024 * 1024
const keyOf = (i: number) => Buffer.from(`k${String(i).padStart(8, '0')}`)

describe('a store that is full', () => {
  let backend: LmdbStateBackend

  afterEach(() => backend.close())

  async function open(): Promise<void> {
    backend = await LmdbStateBackend.temporary({
      maxBytes: MAX_BYTES,
      sweepIntervalMs: Infinity,
      flushIntervalMs: Infinity,
    })
  }

  /** Writes until something does not fit; how that was refused. */
  function fill(write: (round: number) => void): StateError<'BACKEND_FULL'> {
    for (let round = 0; ; round++) {
      try {
        write(round)
      } catch (error) {
        if (isStateError(error, 'BACKEND_FULL')) return error
        throw error
      }
    }
  }

  async function expectWithin({ details }: StateError<'BACKEND_FULL'>): Promise<void> {
    expect(details.capacity).toBe(MAX_BYTES)
    expect(details.used).toBeLessThanOrEqual(MAX_BYTES)
    expect(details.used).toBeGreaterThan(MAX_BYTES / 2)
    await backend.flush()
    expect(backend.stats().usedBytes).toBeLessThanOrEqual(MAX_BYTES)
  }

  /** Pages that are full, so that every key between others splits one. */
  async function fillPages(entries: number): Promise<void> {
    const blocks = async function* () {
      const builder = new EntryBlockBuilder(MAX_BYTES)
      const value = Buffer.alloc(100)
      for (let i = 0; i < entries; i++) builder.add(keyOf(i * 1_000), value, Infinity)
      yield builder.take()
    }
    await backend.replaceAll(blocks())
  }

  it.each([
    ['large values', 10_000, {}],
    ['small values', 500, {}],
    ['values that fill half a page', 3_900, {}],
    ['entries that expire', 300, { ttlMs: 60_000 }],
  ])('says so before its pages take more than it may: %s', async (_, length, options) => {
    await open()
    const random = seededRandom(7)
    const value = Buffer.alloc(length)
    await expectWithin(fill(() => backend.putSync(keyOf(Math.floor(random() * 1e8)), value, options)))
  })

  it.each([1, 20])('says so before keys between others split its pages: %i at a time', async (keys) => {
    await open()
    await fillPages(5_000)
    const random = seededRandom(8)
    const refused = fill(() => {
      const batch = new WriteBatch()
      for (let i = 0; i < keys; i++) batch.put(keyOf(Math.floor(random() * 5e6)), Buffer.alloc(10))
      backend.writeSync(batch)
    })
    await expectWithin(refused)
  })

  it('refuses a content of more than it may take', async () => {
    await open()
    await fillPages(1_000)
    const refused = await fillPages(9_000).catch((error: unknown) => error)
    expect(refused).toMatchObject({ code: 'BACKEND_FULL' })
    expect((refused as StateError<'BACKEND_FULL'>).details.used).toBeLessThanOrEqual(MAX_BYTES)
    expect(await backend.count()).toBe(1_000)
    for (let entries = 6_000; entries < 9_000; entries += 250) {
      await fillPages(entries).catch(() => {})
      expect(backend.stats().usedBytes).toBeLessThanOrEqual(MAX_BYTES)
    }
  })
})

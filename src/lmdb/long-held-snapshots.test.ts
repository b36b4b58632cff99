import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { titled } from '../../test/faults/fault-kit.js'
import { leftToLongRuns } from '../../test/support/long.js'
import { ManualClock } from '../testing/manual-clock.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'

const KEYS = 100
const VALUE_BYTES = 10_000
const ROUNDS = 20
const bytes = (text: string) => Buffer.from(text)

describe('snapshots that are held for long', () => {
  let path: string
  beforeEach(async () => {
    path = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
  })
  afterEach(() => rm(path, { recursive: true, force: true }))

  /** Overwrites everything again and again, a new snapshot each second of the clock; resolves to the size of the file. */
  async function sizeAfterRounds(maxSnapshotAgeMs: number): Promise<number> {
    const clock = new ManualClock()
    const backend = await LmdbStateBackend.open({ path, clock, maxSnapshotAgeMs })
    const overwrite = async (round: number) => {
      for (let i = 0; i < KEYS; i++) backend.putSync(bytes(`key ${i}`), Buffer.alloc(VALUE_BYTES, round))
      await backend.flush()
    }
    await overwrite(0)
    for (let round = 1; round <= ROUNDS; round++) {
      const snapshot = backend.snapshotSync()
      await overwrite(round)
      expect(snapshot.getSync(bytes('key 7'))?.[0]).toBe(round - 1)
      const held = Math.min(round, Math.ceil(maxSnapshotAgeMs / 1_000))
      expect(backend.stats().openSnapshots).toBe(held)
      await clock.advanceAsync(1_000)
    }
    // With a log, what was flushed reaches the data file later, at the latest now.
    await backend.close()
    const { size } = await stat(join(path, 'data-1.mdb'))
    return size
  }

  it('keep the store growing, for as long as they may be held and no longer', async () => {
    const content = KEYS * VALUE_BYTES
    expect(await sizeAfterRounds(2_000)).toBeLessThan(7 * content)
    await rm(path, { recursive: true })
    // The measure of it: that is what holding costs.
    expect(await sizeAfterRounds(Infinity)).toBeGreaterThan(ROUNDS * content)
  })

  const tooMany =
    'may be more than LMDB has readers for: the one too many is an error, and nothing hangs or is lost'
  it.skipIf(leftToLongRuns !== undefined)(titled(tooMany, leftToLongRuns), async () => {
    const backend = await LmdbStateBackend.open({ path })
    const held: { close(): Promise<void> }[] = []
    let error: unknown
    for (let i = 0; i < 1_500 && error === undefined; i++) {
      try {
        backend.putSync(bytes('key'), bytes(`${i}`))
        await backend.flush()
        held.push(await backend.snapshot())
      } catch (reason) {
        error = reason
      }
    }
    expect(error).toMatchObject({ code: 'STORAGE_ERROR' })
    expect(held.length).toBeGreaterThan(1_000)
    expect(backend.getSync(bytes('key'))).toEqual(new Uint8Array(bytes(`${held.length}`)))
    await backend.close().catch(() => {})
    const again = await LmdbStateBackend.open({ path })
    expect(again.getSync(bytes('key'))).toEqual(new Uint8Array(bytes(`${held.length}`)))
    await again.close()
  })
})

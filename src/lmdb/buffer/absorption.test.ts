import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { nextTurn } from '../../base/slices.js'
import { randomHashKey } from '../../log/index/key-hash.js'
import { SegmentPool } from '../../log/segment-pool.js'
import { Absorption } from './absorption.js'
import { FoundEntry } from './found-entry.js'
import { ReadCache } from './read-cache.js'
import { WriteBuffer } from './write-buffer.js'

const SEGMENT_BYTES = 2 ** 16
const KEYS = 1_000

const keyOf = (i: number): Uint8Array => Uint8Array.of(i >> 8, i & 0xff)

let stepMs: number
beforeEach(() => {
  // Each slice ends after its first step.
  stepMs = 1_000
  let nowMs = 0
  vi.spyOn(performance, 'now').mockImplementation(() => (nowMs += stepMs))
})
afterEach(() => {
  vi.restoreAllMocks()
})

/** A buffer with two generations that were committed. */
function openAbsorption(isHurried = () => false) {
  const hashKey = randomHashKey()
  const now = () => 0
  const pool = new SegmentPool(16 * SEGMENT_BYTES, SEGMENT_BYTES)
  const buffer = new WriteBuffer({ hashKey, now, pool, onExpired: () => {} })
  const cache = new ReadCache(64 * SEGMENT_BYTES, hashKey, now, pool)
  let told = 0
  const absorption = new Absorption(buffer, cache, () => told++, isHurried)
  const committed = [0, 1].map((generation) => {
    for (let i = 0; i < KEYS; i++) {
      const key = keyOf(generation * KEYS + i)
      const { log } = buffer.active
      log.write(log.seek(key, 0, key.length), key, 0, key.length, Infinity)
    }
    return buffer.freeze()
  })
  return { buffer, cache, absorption, committed, told: () => told }
}

describe('absorption', () => {
  it('moves what was committed to the read cache, the oldest first, and drops it from the buffer', () => {
    const { buffer, cache, absorption, committed, told } = openAbsorption()
    for (const generation of committed) absorption.begin(generation)
    expect(buffer.frozen.length).toBe(2)
    absorption.finish()
    expect(buffer.frozen.length).toBe(0)
    expect(told()).toBe(2 * KEYS)
    const found = new FoundEntry(buffer.active.log)
    for (let i = 0; i < 2 * KEYS; i++) expect(cache.find(keyOf(i), 0, keyOf(i).length, found)).toBe(true)
  })

  it('lets the event loop have its turn sooner while somebody is about to hear that a write is durable', async () => {
    stepMs = 0.5
    let hurried = false
    const { absorption, committed, told } = openAbsorption(() => hurried)
    const inOneTurn = async () => {
      const before = told()
      await nextTurn()
      return told() - before
    }
    for (const generation of committed) absorption.begin(generation)
    const atLeisure = await inOneTurn()
    hurried = true
    await inOneTurn()
    const inHaste = await inOneTurn()
    expect(inHaste).toBeGreaterThan(0)
    expect(atLeisure).toBeGreaterThanOrEqual(3 * inHaste)
    absorption.forget()
  })

  it('lets go of what waits where nobody reads any more, without moving it', async () => {
    const { buffer, absorption, committed, told } = openAbsorption()
    for (const generation of committed) absorption.begin(generation)
    const before = told()
    expect(before).toBeGreaterThan(0)
    expect(before).toBeLessThan(KEYS)
    absorption.forget()
    expect(buffer.frozen.length).toBe(0)
    for (let turn = 0; turn < 3; turn++) await nextTurn()
    absorption.finish()
    expect(told()).toBe(before)
  })
})

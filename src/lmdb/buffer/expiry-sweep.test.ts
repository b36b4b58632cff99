import { afterEach, describe, expect, it, vi } from 'vitest'
import { randomHashKey } from '../../log/index/key-hash.js'
import { SegmentPool } from '../../log/segment-pool.js'
import type { StoreView } from '../store/store-view.js'
import { ExpirySweep } from './expiry-sweep.js'
import { FoundEntry } from './found-entry.js'
import { ReadCache } from './read-cache.js'
import { WriteBuffer } from './write-buffer.js'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const SEGMENT_BYTES = 64 * 1024

afterEach(() => {
  vi.restoreAllMocks()
})

/** A sweep of an empty buffer over a store that holds these deadlines; tells which keys it removes below the buffer. */
function sweepOver(deadlines: Record<string, number>, now: () => number) {
  const hashKey = randomHashKey()
  const pool = new SegmentPool(SEGMENT_BYTES, SEGMENT_BYTES)
  const buffer = new WriteBuffer({ hashKey, now, pool, onExpired: () => {} })
  const due = Object.entries(deadlines).map(([key, expiresAtMs]) => ({ key: bytes(key), expiresAtMs }))
  const view = {
    firstDeadlineMs: Math.min(...Object.values(deadlines)),
    expiryOf: (key: Uint8Array) => deadlines[new TextDecoder().decode(key)] ?? -Infinity,
    *duePages(afterMs: number, untilMs: number) {
      for (const deadline of due) {
        if (deadline.expiresAtMs > afterMs && deadline.expiresAtMs <= untilMs) yield [deadline]
      }
    },
  } as unknown as StoreView
  const removed: string[] = []
  const remove = (key: Uint8Array, start: number, length: number) => {
    removed.push(new TextDecoder().decode(key.subarray(start, start + length)))
  }
  const sweep = new ExpirySweep(buffer, new ReadCache(SEGMENT_BYTES, hashKey, now, pool), {
    now,
    onExpired: () => {},
    remove: (key, start, length) => {
      buffer.active.log.remove(buffer.active.log.seek(key, start, length))
    },
    removeBelow: remove,
    afterPage: () => {},
    view: () => view,
    deletedAtMs: () => undefined,
  })
  return { buffer, sweep, removed }
}

describe('ExpirySweep', () => {
  it('goes on to what is due by now where it was interrupted in the midst of what was due before', () => {
    let nowMs = 10
    const { sweep, removed } = sweepOver({ early: 10, late: 20 }, () => nowMs)
    expect(sweep.run(0)).toBe(false)
    expect(removed).toEqual(['early'])
    nowMs = 20
    while (!sweep.run(Infinity));
    expect(removed).toEqual(['early', 'late'])
  })

  it('leaves nothing behind that comes due while it looks', () => {
    // The time passes while it looks: at the active generation, the frozen one, the store.
    const times: number[] = []
    let nowMs = 0
    const { buffer, sweep, removed } = sweepOver({ k: 100 }, () => times.shift() ?? nowMs)
    const { log } = buffer.active
    log.write(log.seek(bytes('k'), 0, 1), bytes('v'), 0, 1, 100)
    // Committed, so that the store has it as well, and not forgotten yet.
    const frozen = buffer.freeze()
    times.push(99, 99)
    nowMs = 100
    sweep.run(Infinity)
    const found = new FoundEntry(log)
    const isGone = buffer.find(bytes('k'), 0, 1, found) && found.log !== frozen.log
    buffer.drop(frozen)
    sweep.run(Infinity)
    expect(isGone || removed.includes('k')).toBe(true)
  })
})

import { describe, expect, it } from 'vitest'
import { openLog, putInto, removeFrom } from '../../../test/support/logs.js'
import { Slot } from '../../base/slot.js'
import type { HashLog } from '../hash-log.js'
import { OFFSET_BITS } from '../layout.js'
import { joinParts } from '../share/shared-list.js'
import { ChangeTracker, type ChangeTrackerHost, MIN_TRACKED_ITEMS } from './change-tracker.js'
import { SnapshotEpochs } from './snapshot-epochs.js'

const bytes = (text: string) => Buffer.from(text)
const address = (segment: number, offset: number) => ((segment << OFFSET_BITS) | offset) >>> 0

function tracker(host: Partial<ChangeTrackerHost> = {}): ChangeTracker {
  return new ChangeTracker({ hasRoomForList: () => true, isBuried: () => false, keys: () => 0, ...host })
}

function since(changes: ChangeTracker, base: { epoch: number }): number[] | undefined {
  const parts = changes.since(base)
  return parts === undefined ? undefined : [...joinParts(parts).sort()]
}

describe('HashLog.update, while changes are tracked', () => {
  it('lists what is updated where it lies once, and what is appended', () => {
    const log = openLog()
    const slot = new Slot()
    const update = (key: string, length: number) => {
      log.settle()
      log.update(log.seek(bytes(key), 0, key.length), length, Infinity, slot)
      return log.seek(bytes(key), 0, key.length)
    }
    update('in place', 8)
    update('grows', 8)
    const epoch = log.openSnapshot()
    const base = log.history.trackChanges(epoch)
    if (base === undefined) expect.fail('the base was refused')
    log.closeSnapshot(epoch)
    const changed = [update('in place', 8), update('grows', 80), update('new', 8)]
    expect(update('in place', 8)).toBe(changed[0])
    expect(since(log.history.changes, base)).toEqual(changed.sort((a, b) => a - b))
  })
})

describe('ChangeTracker', () => {
  it('lists for each base what was pushed after it, whichever bases are released', () => {
    const changes = tracker()
    changes.push(7)
    const bases = [1, 2, 3, 4].map((epoch) => {
      const base = changes.addBase(epoch)
      changes.push(epoch * 10)
      changes.push(address(5, epoch))
      return base
    })
    const [first, second, third, fourth] = bases as [(typeof bases)[0], ...typeof bases] & { length: 4 }
    expect([changes.oldest, changes.newest]).toEqual([1, 4])
    changes.releaseBase(third as typeof first)
    expect(since(changes, third as typeof first)).toBeUndefined()
    expect(since(changes, second as typeof first)).toEqual([
      20,
      30,
      40,
      ...[2, 3, 4].map((e) => address(5, e)),
    ])
    changes.push(50)
    changes.releaseBase(first)
    expect(since(changes, second as typeof first)).toEqual([
      20,
      30,
      40,
      50,
      ...[2, 3, 4].map((e) => address(5, e)),
    ])
    expect(since(changes, fourth as typeof first)).toEqual([40, 50, address(5, 4)])
    expect([changes.oldest, changes.newest]).toEqual([2, 4])
    changes.releaseBase(fourth as typeof first)
    expect(changes.newest).toBe(2)
    changes.releaseBase(second as typeof first)
    changes.releaseBase(second as typeof first)
    expect([changes.isActive, changes.oldest, changes.byteLength]).toEqual([false, Infinity, 0])
  })

  it('forgets a segment with its addresses, and gives out lists that never change', () => {
    const changes = tracker()
    const base = changes.addBase(1)
    for (let i = 1; i <= 100; i++) changes.push(address(1, i))
    changes.push(address(2, 1))
    const parts = changes.since(base) ?? []
    for (let i = 101; i <= 300; i++) changes.push(address(1, i))
    changes.segmentRetired(1)
    expect(since(changes, base)).toEqual([address(2, 1)])
    expect(joinParts(parts).length).toBe(101)
    expect(changes.byteLength).toBeLessThan(200)
  })

  it('lets go of what was buried as lists grow, and gives up where they would grow too long', () => {
    const newest = 100
    let pushed = 0
    const changes = tracker({ isBuried: (each) => each <= pushed - newest })
    const base = changes.addBase(1)
    for (let i = 0; i < 50 * MIN_TRACKED_ITEMS; i++)
      changes.push(address(i >>> 16, ++pushed & 0xffff) && pushed)
    expect(since(changes, base)?.slice(-newest).length).toBe(newest)
    expect(changes.byteLength).toBeLessThan(MIN_TRACKED_ITEMS * 3)

    // Spread over segments, with nothing to be let go of, each is looked at a few times at most.
    let looks = 0
    const spread = tracker({ isBuried: () => looks++ < 0, keys: () => 1_000_000 })
    spread.addBase(1)
    for (let i = 0; i < 200_000; i++) spread.push(address(i % 50, i))
    expect(looks).toBeLessThan(3 * 200_000)

    const all = tracker({ keys: () => 3 * MIN_TRACKED_ITEMS })
    const whole = all.addBase(1)
    for (let i = 1; all.isActive && i < 10 * MIN_TRACKED_ITEMS; i++) {
      all.push(i)
      if (i === MIN_TRACKED_ITEMS) expect(since(all, whole)?.length).toBe(i)
      expect(all.byteLength).toBeLessThanOrEqual(3 * MIN_TRACKED_ITEMS * 4)
    }
    expect(since(all, whole)).toBeUndefined()
    expect(all.byteLength).toBe(0)
    const cramped = tracker({ hasRoomForList: () => false })
    const unknown = cramped.addBase(1)
    cramped.push(1)
    expect(since(cramped, unknown)).toBeUndefined()
  })
})

describe('HashLog, tracking changes', () => {
  const put = (log: HashLog, key: string, value: string) => putInto(log, bytes(key), bytes(value))
  const remove = (log: HashLog, key: string) => removeFrom(log, bytes(key))
  const track = (log: HashLog) => {
    const epoch = log.openSnapshot()
    const base = log.history.trackChanges(epoch)
    log.closeSnapshot(epoch)
    if (base === undefined) throw new Error('not tracked')
    return base
  }
  const listed = (log: HashLog, base: { epoch: number }) => log.history.changes.since(base)?.length

  it('lists an entry once however often it is overwritten', () => {
    const log = openLog()
    for (let i = 0; i < 100; i++) put(log, `key-${i}`, 'value')
    const base = track(log)
    for (let round = 0; round < 1_000; round++) for (let i = 0; i < 10; i++) put(log, `key-${i}`, 'other')
    expect(joinParts(log.history.changes.since(base) ?? []).length).toBe(10)
  })

  it('still knows its base after any number of writes that make few keys longer and shorter', () => {
    const log = openLog()
    for (let i = 0; i < 1_000; i++) put(log, `key-${i}`, 'value')
    const base = track(log)
    for (let i = 0; i < 500_000; i++) put(log, `key-${i % 100}`, 'x'.repeat(10 + (i % 7) * 20))
    expect(listed(log, base)).toBeDefined()
    expect(log.memory.trackingBytes).toBeLessThan(100_000)
  })

  it('keeps tombstones while a base needs them, their values not, and drops them afterwards', () => {
    const log = openLog()
    for (let i = 0; i < 3_000; i++) put(log, `key-${i}`, 'x'.repeat(1_000))
    const base = track(log)
    for (let i = 0; i < 3_000; i++) if (i % 10 !== 0) remove(log, `key-${i}`)
    log.tidy(Infinity)
    expect([log.count, log.keys]).toEqual([300, 3_000])
    const later = track(log)
    log.history.changes.releaseBase(base)
    expect(log.hasChores).toBe(true)
    log.tidy(Infinity)
    expect(log.keys).toBe(300)
    log.history.changes.releaseBase(later)
    expect(log.memory.trackingBytes).toBeLessThan(1_000)
  })

  it('takes no more memory the longer bases follow one another', () => {
    const log = openLog()
    let base = track(log)
    for (let round = 0; round < 300; round++) {
      for (let i = 0; i < 200; i++) put(log, `${round}-${i}`, 'x'.repeat(50))
      for (let i = 0; i < 200; i++) remove(log, `${round}-${i}`)
      const next = track(log)
      remove(log, 'none')
      put(log, `${round}`, 'kept a while')
      remove(log, `${round}`)
      log.history.changes.releaseBase(base)
      base = next
      log.tidy(Infinity)
    }
    expect(log.memory.trackingBytes).toBeLessThan(40_000)
    expect(log.keys).toBeLessThan(1_000)
  })

  it('gives tracking up before it is full', () => {
    const log = openLog({ maxBytes: 256 * 1024 })
    for (let i = 0; i < 3_000; i++) put(log, `old-${i}`, '')
    const base = track(log)
    for (let i = 0; i < 3_000; i++) remove(log, `old-${i}`)
    expect(listed(log, base)).toBeDefined()
    // The traces of the old keys are in the way of the new ones.
    for (let i = 0; i < 2_000; i++) {
      put(log, `new-${i}`, 'x'.repeat(40))
      expect(log.memory.totalBytes).toBeLessThanOrEqual(256 * 1024)
    }
    expect(listed(log, base)).toBeUndefined()
    expect([log.count, log.keys]).toEqual([2_000, 2_000])
  })

  it('knows no base any more when epochs start again', () => {
    const epochs = new SnapshotEpochs()
    epochs.current = 2 ** 30 - 2
    const log = openLog({ epochs })
    put(log, 'a', '1')
    const base = track(log)
    expect(listed(log, base)).toBe(0)
    put(log, 'a', '2')
    track(log)
    put(log, 'a', '3')
    remove(log, 'a')
    const next = track(log)
    expect(next.epoch).toBeLessThan(10)
    expect(listed(log, base)).toBeUndefined()
    expect(listed(log, next)).toBe(0)
  })
})

import { describe, expect, it } from 'vitest'
import { openLog, putInto, removeFrom } from '../../../test/support/logs.js'
import { walked } from '../../../test/support/walked.js'
import { runThrough } from '../../base/slices.js'
import type { HashLog } from '../hash-log.js'
import { SortedKeys } from './sorted-keys.js'

const KEYS = 20_000

const keyOf = (i: number) => Buffer.from(`key:${((i * 7_919) % 1_000_003).toString().padStart(8, '0')}`)

function put(log: HashLog, i: number, length: number): void {
  putInto(log, keyOf(i), Buffer.alloc(length, i & 0xff))
}

function remove(log: HashLog, i: number): void {
  removeFrom(log, keyOf(i))
}

/** The living keys as the order has them. */
function keysInOrder(log: HashLog): string[] {
  return walked(log.ordered.sortedNow())
    .map((address) => log.latest(address))
    .filter((address) => address !== 0)
    .map((address) => Buffer.from(log.entries.copyKey(address)).toString())
}

/** What the order takes beside its addresses: room for new keys. */
function bytesBeside(log: HashLog): number {
  return log.ordered.byteLength - 4 * walked(log.ordered.sortedNow()).length
}

const MOST_BESIDE = 64

describe('OrderedIndex', () => {
  it.each(['in order', 'backwards', 'at random'])('has all keys in order, which were put %s', (how) => {
    const log = openLog()
    const keys = Array.from({ length: KEYS }, (_, i) => i)
    if (how !== 'at random') keys.sort((left, right) => Buffer.compare(keyOf(left), keyOf(right)))
    if (how === 'backwards') keys.reverse()
    // Long values: more segments than one.
    for (const i of keys) put(log, i, 100)
    expect(keysInOrder(log)).toEqual(keys.map((i) => keyOf(i).toString()).sort())
  })

  it('lets segments in which nothing lives wait, and rids itself of them step by step, so that no write walks all keys', () => {
    const log = openLog()
    for (let i = 0; i < KEYS; i++) put(log, i, 8)
    runThrough(log.ordered.build())
    let waited = 0
    let longest = 0
    for (let i = 0; i < KEYS; i++) {
      put(log, i, 60)
      waited = log.ordered.needsCleaning ? waited + 1 : 0
      longest = Math.max(longest, waited)
    }
    expect(longest, 'a walk takes many writes').toBeGreaterThan(100)
    expect(longest, 'and not all of them').toBeLessThan(KEYS / 2)
    for (let i = 0; i < KEYS; i += 2) remove(log, i)
    for (let i = KEYS; i < KEYS + 100; i++) put(log, i, 8)
    const expected = [
      ...Array.from({ length: KEYS / 2 }, (_, i) => 2 * i + 1),
      ...Array.from({ length: 100 }, (_, i) => KEYS + i),
    ]
    expect(keysInOrder(log)).toEqual(expected.map((i) => keyOf(i).toString()).sort())
  })

  it('copies for a read behind a new key a chunk, and not the order', () => {
    const log = openLog()
    for (let i = 0; i < KEYS; i++) put(log, i, 8)
    const { chunks: before } = log.ordered.sortedNow()
    expect(before.length).toBeGreaterThan(KEYS / 2_100)
    put(log, KEYS, 8)
    const { chunks: after } = log.ordered.sortedNow()
    expect(after.filter((chunk) => !before.includes(chunk)).length).toBeLessThanOrEqual(2)
    expect(bytesBeside(log)).toBe(MOST_BESIDE)
  })

  it('takes nothing in that leads into a segment which is being cleaned away, where that has been already', () => {
    const log = openLog()
    for (let i = 0; i < KEYS; i++) put(log, i, 8)
    runThrough(log.ordered.build())
    // They come before all others, where cleaning begins.
    const firstKeys = Array.from({ length: 5_000 }, (_, i) => Buffer.from(`a${String(i).padStart(5, '0')}`))
    for (const key of firstKeys) putInto(log, key, Buffer.alloc(100))
    const removed = firstKeys.values()
    const removeNext = () => {
      const key = removed.next().value as Buffer
      removeFrom(log, key)
    }
    while (!log.ordered.needsCleaning) removeNext()
    // Writes that pay for a chunk.
    for (let i = 0; i < 40; i++) removeNext()
    expect(log.ordered.needsCleaning).toBe(true)
    const left = [...removed].map(String)
    log.ordered.sortedNow()
    expect(log.ordered.needsCleaning).toBe(true)
    log.tidy(Infinity)
    for (let i = KEYS; i < KEYS + 5_000; i++) put(log, i, 100)
    const keys = walked(log.ordered.sortedNow()).map((address) =>
      Buffer.from(log.entries.copyKey(address)).toString(),
    )
    expect(keys).toEqual([...new Set(keys)].sort())
    const numbered = Array.from({ length: KEYS + 5_000 }, (_, i) => String(keyOf(i)))
    expect(keysInOrder(log)).toEqual([...left, ...numbered].sort())
  })

  it('takes new keys in while it rids itself of dead segments, which goes on where it was', () => {
    const log = openLog()
    for (let i = 0; i < KEYS; i++) put(log, i, 8)
    const held = log.ordered.sortedNow()
    const pin = log.pin()
    const heldKeys = walked(held).map((address) => Buffer.from(log.entries.copyKey(address)).toString())
    let next = KEYS
    let [readsBetween, cleanings] = [0, 0]
    for (let i = 0; i < KEYS; i++) {
      const wasCleaning = log.ordered.needsCleaning
      put(log, i, 60)
      if (wasCleaning && !log.ordered.needsCleaning) cleanings++
      if (!log.ordered.needsCleaning || i % 10 > 0) continue
      put(log, next++, 60)
      const isCleaning = log.ordered.needsCleaning
      log.ordered.sortedNow()
      expect(log.ordered.needsCleaning, 'a read looks through no dead segments').toBe(isCleaning)
      readsBetween++
    }
    expect(readsBetween).toBeGreaterThan(50)
    expect(cleanings, 'although there are reads between, it ends').toBeGreaterThan(0)
    log.tidy(Infinity)
    expect(log.ordered.needsCleaning).toBe(false)
    const expected = Array.from({ length: next }, (_, i) => keyOf(i).toString()).sort()
    expect(keysInOrder(log)).toEqual(expected)
    // Whoever has begun before finds what was there.
    expect(walked(held).map((address) => Buffer.from(log.entries.copyKey(address)).toString())).toEqual(
      heldKeys,
    )
    log.unpin(pin)
  })

  it('keeps no memory of dead segments once there is time to tidy, and none of keys that are gone', () => {
    const log = openLog()
    for (let i = 0; i < KEYS; i++) put(log, i, 100)
    runThrough(log.ordered.build())
    const before = log.memory
    for (let i = 0; i < KEYS; i++) if (i % 10 > 0) remove(log, i)
    log.tidy(Infinity)
    expect(log.ordered.needsCleaning).toBe(false)
    expect(log.memory.segmentBytes).toBeLessThan(before.segmentBytes / 2)
    expect(keysInOrder(log).length).toBe(KEYS / 10)
    expect(bytesBeside(log)).toBe(MOST_BESIDE)
    // Chunks of which little was left have become few.
    expect(log.ordered.sortedNow().chunks.length).toBeLessThan(KEYS / 2_048 / 2)
  })

  it('forgets new keys that were gone when their segments were cleaned away, whether or not other segments wait', () => {
    const log = openLog()
    put(log, 0, 8)
    runThrough(log.ordered.build())
    for (let i = 1; i < KEYS; i++) put(log, i, 100)
    for (let i = 1; i < KEYS; i++) remove(log, i)
    log.tidy(Infinity)
    expect(log.ordered.needsCleaning).toBe(false)
    put(log, KEYS, 8)
    expect(walked(log.ordered.sortedNow())).not.toContain(0)
    expect(keysInOrder(log)).toEqual([keyOf(0).toString(), keyOf(KEYS).toString()].sort())
  })

  it('gives itself up before a full log refuses a write', () => {
    const log = openLog({ maxBytes: 4 * 1024 * 1024 })
    for (let i = 0; i < 12_000; i++) put(log, i, 100)
    runThrough(log.ordered.build())
    // Overwritten by turns longer and shorter, everything moves again and again.
    for (let round = 0; round < 6; round++) {
      for (let i = 0; i < 12_000; i++) put(log, i, round % 2 === 0 ? 130 : 90)
    }
    expect(keysInOrder(log).length).toBe(12_000)
  })

  it('stays right when segments die while it is built in slices, however that ends', () => {
    const log = openLog()
    for (let i = 0; i < KEYS; i++) put(log, i, 8)
    runThrough(log.ordered.build())
    for (let round = 0; round < 4; round++) {
      for (let i = 0; i < 2_000; i++) put(log, KEYS + round * 2_000 + i, 8)
      const epoch = log.openSnapshot()
      const build = log.ordered.build()
      for (let step = 0; build.next().done !== true; step++) {
        for (let i = 0; i < 500; i++) put(log, (step * 500 + i) % KEYS, 60 + ((round + step) % 3) * 40)
        if (round === 2 && step === 3) {
          build.return(SortedKeys.over([]))
          break
        }
      }
      log.closeSnapshot(epoch)
      const expected = Array.from({ length: KEYS + (round + 1) * 2_000 }, (_, i) => keyOf(i).toString())
      expect(keysInOrder(log)).toEqual(expected.sort())
    }
    log.tidy(Infinity)
    expect(log.ordered.needsCleaning).toBe(false)
  })
})

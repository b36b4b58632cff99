import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { openLog, putInto, removeFrom } from '../../test/support/logs.js'
import { runs } from '../../test/support/long.js'
import { walked } from '../../test/support/walked.js'
import { EntryBlockBuilder, EntryBlockCursor } from '../backend/entry-block.js'
import { compareBytes } from '../base/bytes.js'
import { runThrough } from '../base/slices.js'
import type { HashLog } from './hash-log.js'
import { SnapshotEpochs } from './history/snapshot-epochs.js'
import { SortedKeys } from './order/sorted-keys.js'

function read(log: HashLog, key: Uint8Array): string | undefined {
  const address = log.seek(key, 0, key.length)
  return log.isAlive(address) ? Buffer.from(log.entries.copyValue(address)).toString() : undefined
}

const bytes = (text: string) => Buffer.from(text)

describe('HashLog', () => {
  it('orders keys of every shape as unsigned bytes', () => {
    const key = fc
      .uint8Array({ maxLength: 14 })
      .map((random) => random.map((byte) => (byte < 128 ? byte % 3 : byte)))
    fc.assert(
      fc.property(fc.array(key, { maxLength: 200 }), (keys) => {
        const log = openLog()
        for (const each of keys) putInto(log, each, each)
        const sorted = runThrough(log.ordered.build())
        const got = Array.from(walked(sorted), (address) =>
          Buffer.from(log.entries.copyKey(address)).toString('hex'),
        )
        const distinct = new Map(keys.map((each) => [Buffer.from(each).toString('hex'), each]))
        const expected = [...distinct].sort(([, a], [, b]) => compareBytes(a, b)).map(([hex]) => hex)
        expect(got).toEqual(expected)
      }),
      { numRuns: 300 },
    )
  })

  it('brings keys near, there or not, of any number and length, and changes nothing by it', () => {
    const keys = fc.array(fc.string({ maxLength: 9 }), { maxLength: 100 })
    fc.assert(
      fc.property(keys, keys, fc.string({ maxLength: 9 }), (there, asked, last) => {
        const log = openLog()
        for (const key of there) putInto(log, bytes(key), bytes(`${key}!`))
        for (const key of there.slice(0, 10)) removeFrom(log, bytes(key))
        const before = there.map((key) => read(log, bytes(key)))
        const sought = log.seekAhead(bytes(last), 0, bytes(last).length)
        const encoded = asked.map((key) => bytes(key))
        let end = 0
        const ends = Int32Array.from(encoded, ({ length }) => {
          end += length
          return end
        })
        log.bringNear(Buffer.concat(encoded), ends, encoded.length)
        log.write(sought, bytes('x'), 0, 1, Infinity)
        expect(read(log, bytes(last))).toBe('x')
        for (const [i, key] of there.entries())
          if (key !== last) expect(read(log, bytes(key))).toBe(before[i])
      }),
      { numRuns: runs(1_000, 100) },
    )
  })

  it('merges new keys into the order, those that went and came again included', () => {
    const log = openLog()
    const expected = new Set<string>()
    for (let round = 0; round < 8; round++) {
      for (let i = 0; i < 300; i++) {
        const key = `key:${(i * 7919 + round * 104_729) % 1000}`
        putInto(log, bytes(key), bytes('v'))
        expected.add(key)
        if (i % 5 === 0) {
          removeFrom(log, bytes(key))
          putInto(log, bytes(key), bytes('again'))
        }
      }
      const sorted = runThrough(log.ordered.build())
      const keys = Array.from(walked(sorted), (address) =>
        Buffer.from(log.entries.copyKey(address)).toString(),
      )
      expect(keys).toEqual([...expected].sort())
    }
  })

  it('orders more keys than fit a slice, with long common prefixes and keys that are prefixes of others', () => {
    const log = openLog()
    const keys: Buffer[] = []
    for (let i = 0; i < 40_000; i++) {
      const number = Math.imul(i, 0x9e3779b1) >>> 0
      keys.push(
        bytes(
          'common:prefix:of:all:'.concat('x'.repeat(number % 5), '\0'.repeat(number % 3), String(number)),
        ),
      )
    }
    for (let i = 0; i <= 21; i++) keys.push(bytes('common:prefix:of:all:'.slice(0, i)))
    for (const key of keys) putInto(log, key, key)
    const sorted = runThrough(log.ordered.build())
    const got = Array.from(walked(sorted), (address) => Buffer.from(log.entries.copyKey(address)))
    expect(got.every((key, i) => i === 0 || compareBytes(got[i - 1] as Buffer, key) < 0)).toBe(true)
    expect(got.length).toBe(keys.length)
  })

  it('moves living entries out of dead segments without changing what they say', () => {
    const log = openLog()
    const value = (i: number, round: number) =>
      bytes(`${round}:`.padEnd(100 + (i % 50) + round * 8, String(i)))
    for (let round = 0; round < 12; round++) {
      for (let i = 0; i < 5_000; i++)
        if (round === 0 || i % 4 !== 0) putInto(log, bytes(`key-${i}`), value(i, round))
    }
    const written = 12 * 5_000 * 200
    expect(log.memory.segmentBytes).toBeLessThan(written / 3)
    log.tidy(Infinity)
    expect(log.memory.deadBytes).toBeLessThan(log.memory.liveBytes)
    for (let i = 0; i < 5_000; i++) {
      expect(read(log, bytes(`key-${i}`))).toBe(value(i, i % 4 === 0 ? 0 : 11).toString())
    }
    expect(log.count).toBe(5_000)
  })

  it('an entry that compaction moved does not look changed to a snapshot', () => {
    const log = openLog()
    const filler = bytes('x'.repeat(2_000))
    for (let i = 0; i < 200; i++) putInto(log, bytes(`key-${i}`), filler)
    const epoch = log.openSnapshot()
    log.closeSnapshot(epoch)
    // Enough garbage that the untouched entries are moved.
    for (let round = 0; round < 20; round++) {
      for (let i = 1; i < 200; i++) putInto(log, bytes(`key-${i}`), bytes('y'.repeat(2_000 + round * 8)))
    }
    log.tidy(Infinity)
    const address = log.seek(bytes('key-0'), 0, 5)
    expect(log.entries.epoch(address)).toBeLessThanOrEqual(epoch)
    expect(log.entries.epoch(log.seek(bytes('key-1'), 0, 5))).toBeGreaterThan(epoch)
  })

  it('keeps emptied segments while a snapshot may read them, and gives them back afterwards', () => {
    const log = openLog()
    for (let i = 0; i < 20_000; i++) putInto(log, bytes(`key-${i}`), bytes(`old-${i}`.padEnd(100)))
    const epoch = log.openSnapshot()
    for (let i = 0; i < 20_000; i++) putInto(log, bytes(`key-${i}`), bytes(`new-${i}`.padEnd(100)))
    log.tidy(Infinity)
    for (let i = 0; i < 20_000; i += 997) {
      const key = bytes(`key-${i}`)
      const address = log.visible(log.seek(key, 0, key.length), epoch)
      expect(Buffer.from(log.entries.copyValue(address)).toString().trim()).toBe(`old-${i}`)
    }
    const pinned = log.memory.deadBytes
    log.closeSnapshot(epoch)
    log.tidy(Infinity)
    expect(log.memory.deadBytes).toBeLessThan(pinned / 2)
    expect(read(log, bytes('key-7'))?.trim()).toBe('new-7')
  })

  it('drops tombstones when the last snapshot that needs them has closed', () => {
    const log = openLog()
    for (let i = 0; i < 1_000; i++) putInto(log, bytes(`key-${i}`), bytes('value'))
    const first = log.openSnapshot()
    for (let i = 0; i < 500; i++) removeFrom(log, bytes(`key-${i}`))
    const second = log.openSnapshot()
    for (let i = 500; i < 1_000; i++) removeFrom(log, bytes(`key-${i}`))
    expect(log.count).toBe(0)
    const seen = (epoch: number) => {
      let count = 0
      for (let i = 0; i < 1_000; i++) {
        const key = bytes(`key-${i}`)
        if (log.visible(log.seek(key, 0, key.length), epoch) !== 0) count++
      }
      return count
    }
    expect([seen(first), seen(second)]).toEqual([1_000, 500])
    log.closeSnapshot(first)
    log.tidy(Infinity)
    expect(seen(second)).toBe(500)
    log.closeSnapshot(second)
    log.tidy(Infinity)
    expect(walked(runThrough(log.ordered.build())).length).toBe(0)
    expect(log.hasChores).toBe(false)
  })

  it('starts its epochs again before they run out, and says so when an open snapshot forbids it', () => {
    const epochs = new SnapshotEpochs()
    epochs.current = 2 ** 30
    const log = openLog({ epochs })
    putInto(log, bytes('a'), bytes('1'))
    const epoch = log.openSnapshot()
    expect(epoch).toBeLessThan(10)
    putInto(log, bytes('a'), bytes('2'))
    putInto(log, bytes('b'), bytes('2'))
    expect(log.visible(log.seek(bytes('b'), 0, 1), epoch)).toBe(0)
    expect(log.visible(log.seek(bytes('a'), 0, 1), epoch)).not.toBe(0)
    epochs.current = 2 ** 31 - 1
    expect(() => log.openSnapshot()).toThrow(expect.objectContaining({ code: 'TRANSACTION_FAILED' }))
    log.closeSnapshot(epoch)
    expect(() => log.closeSnapshot(log.openSnapshot())).not.toThrow()
  })

  it('is filled without look-ups, over segments of its own size and large values, and then is like any other', () => {
    for (const maxBytes of [Infinity, 64 * 1024 * 1024]) {
      const log = openLog({ maxBytes })
      const valueOf = (i: number) => (i === 70_000 ? 'large'.repeat(5_000_000 / 5) : `value-${i}`.padEnd(60))
      const count = runs(200_000, 75_000)
      for (let i = 0; i < count; i++) {
        const [key, value] = [bytes(`key-${i}`), bytes(valueOf(i))]
        const block = new EntryBlockBuilder(1)
        block.add(key, value, Infinity)
        const cursor = new EntryBlockCursor(block.take().bytes)
        cursor.next()
        log.append(cursor, Infinity)
        if (log.appended.areEnough) runThrough(log.indexAppended())
      }
      runThrough(log.indexAppended())
      expect(log.count).toBe(count)
      for (let i = 0; i < count; i++) if (read(log, bytes(`key-${i}`)) !== valueOf(i)) expect.fail(`key-${i}`)
      const epoch = log.openSnapshot()
      putInto(log, bytes('key-1'), bytes('other'))
      expect(log.visible(log.seek(bytes('key-1'), 0, 5), epoch)).not.toBe(log.seek(bytes('key-1'), 0, 5))
      log.closeSnapshot(epoch)
    }
  })

  it('finds both of two keys whose hashes are equal', () => {
    // With so many keys in 32 bits some hashes collide; every key must still be found, and only itself.
    const log = openLog()
    for (let i = 0; i < 200_000; i++) putInto(log, bytes(`k${i}`), bytes(`v${i}`))
    for (let i = 0; i < 200_000; i++) if (read(log, bytes(`k${i}`)) !== `v${i}`) expect.fail(`k${i}`)
    expect(log.count).toBe(200_000)
  })

  it('an abandoned build loses no key, and one that a segment is retired under stays right', () => {
    const log = openLog()
    const filler = (i: number) => bytes(`filler-${i}`)
    putInto(log, bytes('first'), bytes('1'))
    runThrough(log.ordered.build())
    for (let i = 0; i < 20_000; i++) putInto(log, filler(i), bytes('x'.repeat(50)))
    const abandoned = log.ordered.build()
    abandoned.next()
    abandoned.return(SortedKeys.over([]))
    expect(walked(runThrough(log.ordered.build())).length).toBe(20_001)

    for (let i = 20_000; i < 40_000; i++) putInto(log, filler(i), bytes('x'.repeat(50)))
    const epoch = log.openSnapshot()
    const build = log.ordered.build()
    build.next()
    // Every entry moves to another place, so that the segments they were in are retired.
    for (let i = 0; i < 40_000; i++) putInto(log, filler(i), bytes('y'.repeat(60)))
    runThrough(build)
    log.closeSnapshot(epoch)
    for (let i = 0; i < 40_000; i++) putInto(log, filler(i), bytes('z'.repeat(70)))
    const keys = Array.from(walked(runThrough(log.ordered.build())), (address) =>
      String(log.entries.copyKey(address)),
    )
    expect(new Set(keys).size).toBe(40_001)
  })
})

import fc from 'fast-check'
import { expect, it } from 'vitest'
import { ByteWriter } from '../../state/codec/bytes.js'
import { WindowList } from './window-list.js'
import { FIRED_ON_TIME, HAS_SINCE, IS_AWAITED } from './window-page.js'

interface Plain {
  startMs: number
  endMs: number
  changes: number
  flags: number
  sinceMs: number | undefined
  replaces: number
  accumulator: number
  byte: number
}

/** A list and what it should have. */
interface Checked {
  readonly list: WindowList
  readonly plain: Plain[]
}

const WAITS = { earlyMs: 1_000, lateMs: 3_000 }
const FLAGS = [FIRED_ON_TIME, IS_AWAITED]

function shownOf(list: WindowList): Plain[] {
  return Array.from({ length: list.count }, (_, i) => {
    const length = list.accumulatorBytes(i)
    const at = list.accumulatorAt(i)
    return {
      startMs: list.startMs(i),
      endMs: list.endMs(i),
      changes: list.changes(i),
      flags: FLAGS.reduce((flags, flag) => flags | (list.has(i, flag) ? flag : 0), 0),
      sinceMs: list.has(i, HAS_SINCE) && list.changes(i) > 0 ? list.sinceMs(i) : undefined,
      replaces: list.replaces(i).length,
      accumulator: length,
      byte: length === 0 ? 0 : (list.memoryOf(i).bytes[at + length - 1] as number),
    }
  })
}

const bytesOf = (list: WindowList): Uint8Array => {
  const to = new ByteWriter()
  list.copyTo(to, to.reserve(list.length))
  return to.copy()
}

const orCount = (found: number, count: number): number => (found < 0 ? count : found)

/** When a window is told of that waits: one that has nothing new, or has not noted since when, at once. */
const awaitedMs = ({ flags, sinceMs, changes }: Plain): number => {
  if ((flags & IS_AWAITED) === 0) return Infinity
  const waitsMs = (flags & FIRED_ON_TIME) === 0 ? WAITS.earlyMs : WAITS.lateMs
  return changes === 0 || sinceMs === undefined ? -Infinity : sinceMs + waitsMs
}

function check({ list, plain }: Checked, timeMs: number): void {
  expect(shownOf(list)).toEqual(
    plain.map((each) => ({ ...each, sinceMs: each.changes > 0 ? each.sinceMs : undefined })),
  )
  for (const hasFired of [false, true]) {
    const such = plain.filter(({ flags }) => ((flags & FIRED_ON_TIME) !== 0) === hasFired)
    const least = such.reduce<number | undefined>((ms, { endMs }) => Math.min(ms ?? endMs, endMs), undefined)
    expect(list.leastEndMs(hasFired)).toBe(least)
    const next = plain.findIndex((each) => such.includes(each) && each.endMs <= timeMs)
    expect(list.nextEnding(0, hasFired, timeMs)).toBe(orCount(next, plain.length))
  }
  const awaited = plain.findIndex((each) => awaitedMs(each) <= timeMs)
  expect(list.nextAwaited(0, WAITS, timeMs)).toBe(orCount(awaited, plain.length))
  expect(list.nextAwaitedMs(WAITS)).toBe(Math.min(Infinity, ...plain.map(awaitedMs)))
  const ending = plain.findIndex(({ endMs }) => endMs >= timeMs)
  expect(list.firstEndingFrom(timeMs)).toBe(orCount(ending, plain.length))
}

function insert({ list, plain }: Checked, startMs: number, accumulator: number): void {
  // All are of one length, so that ends are in the order of starts.
  const endMs = startMs + 10
  const place = orCount(
    plain.findIndex((each) => each.startMs >= startMs),
    plain.length,
  )
  expect(list.placeOf(startMs, endMs)).toBe(place)
  expect(list.isAt(place, startMs, endMs)).toBe(plain[place]?.startMs === startMs)
  if (list.isAt(place, startMs, endMs)) return
  list.insert(place, startMs, endMs, accumulator)
  plain.splice(place, 0, {
    startMs,
    endMs,
    changes: 0,
    flags: 0,
    sinceMs: undefined,
    replaces: 0,
    accumulator,
    byte: 0,
  })
}

/** One change of a window. */
function change({ list, plain }: Checked, what: number, i: number, size: number): void {
  const each = plain[i] as Plain
  if (what === 0) {
    list.setChanges(i, (each.changes = size))
  } else if (what === 1) {
    const flag = FLAGS[size % 2] as number
    list.set(i, flag, (each.flags & flag) === 0)
    each.flags ^= flag
  } else if (what === 2) {
    each.replaces = size % 4
    list.setReplaces(
      i,
      Array.from({ length: each.replaces }, () => ({ startMs: 0, endMs: 1 })),
    )
  } else if (what === 3) {
    each.accumulator = size * 40
    each.byte = size === 0 ? 0 : size % 256
    list.resizeAccumulator(i, each.accumulator)
    const at = list.accumulatorAt(i)
    list.memoryOf(i).bytes.fill(each.byte, at, at + each.accumulator)
  } else if (what === 4) {
    each.sinceMs = size < 20 ? undefined : size * 50
    if (each.sinceMs === undefined) list.dropSince(i)
    else list.setSinceMs(i, each.sinceMs)
  } else {
    list.remove(i)
    plain.splice(i, 1)
  }
}

it('agrees with an array, however many windows and how long ones there are, and is changed by nothing that was forked from it', () => {
  const step = fc.record({
    what: fc.nat({ max: 8 }),
    place: fc.nat({ max: 9_999 }),
    size: fc.nat({ max: 200 }),
  })
  fc.assert(
    fc.property(fc.nat({ max: 300 }), fc.array(step, { maxLength: 150 }), (count, steps) => {
      let at: Checked = { list: new WindowList(), plain: [] }
      const others: { readonly list: WindowList; readonly bytes: Uint8Array }[] = []
      for (let i = 0; i < count; i++) insert(at, ((i * 7_919) % 1_009) * 20, i % 3)
      check(at, 4_000)
      for (const { what, place, size } of steps) {
        const { length } = at.plain
        if (what <= 5 && length > 0) {
          // Most often one behind the other goes, as windows do that have come to their end.
          change(at, what, what === 5 && size < 150 ? 0 : place % length, size)
        } else if (what === 6) {
          insert(at, place * 20, size)
        } else if (what === 7) {
          others.push({ list: at.list, bytes: bytesOf(at.list) })
          at = { list: at.list.fork(), plain: at.plain.map((each) => ({ ...each })) }
        } else {
          const bytes = new ByteWriter()
          bytes.append(bytesOf(at.list))
          at.list.load(bytes, 0, bytes.length)
        }
        check(at, place)
      }
      for (const { list, bytes } of others) expect(bytesOf(list)).toEqual(bytes)
    }),
    { numRuns: process.env['HOLDFAST_LONG'] === '1' ? 1_000 : 40 },
  )
})

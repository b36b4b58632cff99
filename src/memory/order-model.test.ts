// The order of keys against an array of all keys that there can be: many more of them than a chunk of the order has, put and removed by the thousand.

import assert from 'node:assert/strict'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { modelLimitMs, modelRuns } from '../../test/support/long.js'
import { onRandomRuns } from '../../test/support/random-runs.js'
import { EntryBlockCursor } from '../backend/entry-block.js'
import type { SharedSnapshot } from '../backend/shared-snapshot.js'
import type { SyncStateSnapshot } from '../backend/state-snapshot.js'
import type { ScanRange } from '../backend/types.js'
import { nextTurn } from '../base/slices.js'
import { MemoryStateBackend } from './memory-state-backend.js'
import { openSharedSnapshot } from './shared-memory-snapshot.js'

const KEYS = 12_000
const LENGTHS = 256
const RUNS = modelRuns(120, 15)

/** Of each key the length of its value, whose bytes are that number; 0: it is not there. */
type Content = Uint8Array

interface Bound {
  readonly key: number
  readonly isIn: boolean
}

interface Stretch {
  readonly lower: Bound | null
  readonly upper: Bound | null
  readonly reverse: boolean
  readonly limit: number
}

type Step =
  | { readonly kind: 'put'; readonly keys: KeySet; readonly length: number }
  | { readonly kind: 'delete'; readonly keys: KeySet }
  | { readonly kind: 'deleteRange'; readonly of: Stretch }
  | { readonly kind: 'scan' | 'begin' | 'beginAsync'; readonly of: Stretch }
  | { readonly kind: 'goOn'; readonly nth: number; readonly count: number }
  | { readonly kind: 'snapshot' | 'turns' }
  | { readonly kind: 'close'; readonly nth: number }

/** So many keys from one on, each `stride` behind the one before it, round and round. */
interface KeySet {
  readonly from: number
  readonly count: number
  readonly stride: number
}

const key = fc.nat(KEYS - 1)
const bound = fc.option(fc.record({ key, isIn: fc.boolean() }), { freq: 3 })
const stretch: fc.Arbitrary<Stretch> = fc.record({
  lower: bound,
  upper: bound,
  reverse: fc.boolean(),
  limit: fc.constantFrom(1, 20, 5_000, Infinity),
})
const keys: fc.Arbitrary<KeySet> = fc.record({
  from: key,
  count: fc.oneof(fc.constantFrom(1, 2, 20), fc.integer({ min: 1, max: 6_000 })),
  // All have no factor in common with KEYS.
  stride: fc.constantFrom(1, KEYS - 1, 7, 7_919),
})
const nth = fc.nat(5)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('put' as const),
      keys,
      length: fc.integer({ min: 1, max: 250 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('delete' as const), keys }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('deleteRange' as const), of: stretch }) },
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constantFrom('scan' as const, 'begin' as const, 'beginAsync' as const),
      of: stretch,
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('goOn' as const),
      nth,
      count: fc.constantFrom(1, 100, 3_000, Infinity),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('snapshot' as const, 'turns' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('close' as const), nth }) },
)

const bytesOf = (number: number) => Buffer.from(String(number).padStart(6, '0'))

/** A key and the length of its value in one number: a hundred thousand of them are compared at once. */
type Entry = number

const read = ([entryKey, value]: readonly [Uint8Array, Uint8Array]): Entry => {
  assert(value.every((byte) => byte === value.length))
  return Number(Buffer.from(entryKey).toString()) * LENGTHS + value.length
}

function assertSame(found: readonly Entry[], expected: readonly Entry[]): void {
  const first = found.findIndex((entry, i) => entry !== expected[i])
  assert(first < 0, `at ${first}: ${found[first]}, not ${expected[first]}`)
  assert.equal(found.length, expected.length)
}

function numbersOf({ from, count, stride }: KeySet): number[] {
  return Array.from({ length: count }, (_, i) => (from + i * stride) % KEYS)
}

function rangeOf({ lower, upper, reverse, limit }: Stretch): ScanRange {
  return {
    ...(lower && { [lower.isIn ? 'gte' : 'gt']: bytesOf(lower.key) }),
    ...(upper && { [upper.isIn ? 'lte' : 'lt']: bytesOf(upper.key) }),
    reverse,
    limit,
  }
}

function expectedOf(content: Content, { lower, upper, reverse, limit }: Stretch): Entry[] {
  const first = lower === null ? 0 : lower.key + (lower.isIn ? 0 : 1)
  const end = upper === null ? KEYS : upper.key + (upper.isIn ? 1 : 0)
  const entries: Entry[] = []
  for (let i = first; i < end; i++) if (content[i] !== 0) entries.push(i * LENGTHS + (content[i] as number))
  if (reverse) entries.reverse()
  return entries.slice(0, Math.min(limit, entries.length))
}

const EVERYTHING: Stretch = { lower: null, upper: null, reverse: false, limit: Infinity }

interface HeldSnapshot {
  readonly snapshot: SyncStateSnapshot
  /** To be read where it lies, while what it sees is written over. */
  readonly shared: SharedSnapshot | undefined
  readonly content: Content
}

class World {
  readonly #backend = new MemoryStateBackend({ sweepIntervalMs: Infinity })
  readonly #content: Content = new Uint8Array(KEYS)
  /** Scans that have begun, and what they are still to give. */
  readonly #scans: { readonly entries: Iterator<readonly [Uint8Array, Uint8Array]>; left: Entry[] }[] = []
  readonly #awaited: Promise<void>[] = []
  readonly #snapshots: HeldSnapshot[] = []

  async take(each: Step): Promise<void> {
    const [backend, content] = [this.#backend, this.#content]
    if (each.kind === 'put') {
      for (const number of numbersOf(each.keys)) {
        backend.putSync(bytesOf(number), Buffer.alloc(each.length, each.length))
        content[number] = each.length
      }
    } else if (each.kind === 'delete') {
      for (const number of numbersOf(each.keys)) {
        backend.deleteSync(bytesOf(number))
        content[number] = 0
      }
    } else if (each.kind === 'deleteRange') {
      const of = { ...each.of, reverse: false, limit: Infinity }
      const { reverse: _, limit: __, ...range } = rangeOf(of)
      backend.deleteRangeSync(range)
      for (const entry of expectedOf(content, of)) content[Math.floor(entry / LENGTHS)] = 0
    } else if (each.kind === 'scan') {
      const found = Array.from(backend.scanSync(rangeOf(each.of)), read)
      assertSame(found, expectedOf(content, each.of))
    } else if (each.kind === 'begin') {
      const entries = backend.scanSync(rangeOf(each.of))[Symbol.iterator]()
      this.#scans.push({ entries, left: expectedOf(content, each.of) })
      this.#goOn(this.#scans.length - 1, 1)
    } else if (each.kind === 'beginAsync') {
      this.#awaited.push(this.#checkAsync(each.of))
    } else if (each.kind === 'goOn') {
      if (this.#scans.length > 0) this.#goOn(each.nth % this.#scans.length, each.count)
    } else if (each.kind === 'snapshot') {
      const snapshot = backend.snapshotSync()
      this.#snapshots.push({ snapshot, shared: snapshot.share?.(), content: content.slice() })
    } else if (each.kind === 'turns') {
      for (let i = 0; i < 3; i++) await nextTurn()
    } else if (each.kind === 'close' && this.#snapshots.length > 0) {
      await this.#checkAndClose(each.nth % this.#snapshots.length)
    }
  }

  async finish(): Promise<void> {
    while (this.#scans.length > 0) this.#goOn(0, Infinity)
    while (this.#snapshots.length > 0) await this.#checkAndClose(0)
    await Promise.all(this.#awaited)
    assertSame(Array.from(this.#backend.scanSync(), read), expectedOf(this.#content, EVERYTHING))
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#awaited)
    await this.#backend.close()
  }

  #goOn(place: number, count: number): void {
    const scan = this.#scans[place]
    if (scan === undefined) return
    const found: Entry[] = []
    let isDone = false
    while (found.length < count && !isDone) {
      const next = scan.entries.next()
      if (next.done === true) isDone = true
      else found.push(read(next.value))
    }
    assertSame(found, scan.left.slice(0, found.length))
    scan.left = scan.left.slice(found.length)
    if (!isDone) return
    assert.equal(scan.left.length, 0)
    this.#scans.splice(place, 1)
  }

  async #checkAsync(of: Stretch): Promise<void> {
    const expected = expectedOf(this.#content, of)
    const found: Entry[] = []
    for await (const entry of this.#backend.scan(rangeOf(of))) found.push(read(entry))
    assertSame(found, expected)
  }

  async #checkAndClose(place: number): Promise<void> {
    const [held] = this.#snapshots.splice(place, 1)
    if (held === undefined) return
    const { snapshot, shared, content } = held
    for (const reverse of [false, true]) {
      const of = { ...EVERYTHING, reverse }
      assertSame(Array.from(snapshot.scanSync(rangeOf(of)), read), expectedOf(content, of))
    }
    const reader = await openSharedSnapshot(shared?.data)
    const found: Entry[] = []
    for await (const { bytes } of reader.blocks()) {
      for (const cursor = new EntryBlockCursor(bytes); cursor.next(); )
        found.push(read([cursor.key(), cursor.value()]))
    }
    assertSame(found, expectedOf(content, EVERYTHING))
    await reader.close()
    await snapshot.close()
  }
}

it(
  'keys are in order, for scans and snapshots of every instant, whatever is put, removed, moved and merged meanwhile',
  async () => {
    let finished = 0
    await onRandomRuns(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60, size: 'max' }), async (steps) => {
        const world = new World()
        try {
          for (const each of steps) await world.take(each)
          await world.finish()
          finished++
        } finally {
          await world.close()
        }
      }),
      { runs: RUNS },
    )
    expect(finished).toBeGreaterThan(0)
  },
  modelLimitMs(300_000),
)

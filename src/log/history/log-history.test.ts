import assert from 'node:assert/strict'
import { describe, expect, it } from 'vitest'
import { openLog } from '../../../test/support/logs.js'
import { walked } from '../../../test/support/walked.js'
import { seededRandom } from '../../base/random.js'
import { Slot } from '../../base/slot.js'
import type { HashLog } from '../hash-log.js'
import { OFFSET_BITS, OFFSET_MASK } from '../layout.js'
import { latestBetween } from '../order/keys-between.js'
import type { SortedKeys } from '../order/sorted-keys.js'
import { SegmentPool } from '../segment-pool.js'
import { joinParts } from '../share/shared-list.js'
import type { ChangeMark } from './change-tracker.js'

const LONG = process.env['HOLDFAST_LONG'] === '1'
const SEGMENT_BYTES = 4 * 1024

type Content = ReadonlyMap<string, string>

interface OpenSnapshot {
  readonly epoch: number
  readonly content: Content
}

interface Base {
  readonly mark: ChangeMark
  readonly content: Content
}

/** An order of keys that is read later than it was taken. */
interface HeldOrder {
  readonly snapshot: OpenSnapshot
  readonly sorted: SortedKeys
  readonly pin: number
}

/** A log of small segments beside a map, with whatever is open on both. */
class World {
  readonly #random: () => number
  readonly #slot = new Slot()
  readonly log: HashLog
  /** What is there, with the time when it expires. */
  readonly #entries = new Map<string, { readonly value: string; readonly expiresAtMs: number }>()
  snapshots: OpenSnapshot[] = []
  bases: Base[] = []
  orders: HeldOrder[] = []
  #nowMs = 0

  constructor(seed: number) {
    this.#random = seededRandom(seed)
    this.log = openLog({
      hashKey: { low: seed, high: 2 },
      now: () => this.#nowMs,
      pool: new SegmentPool(0, SEGMENT_BYTES),
    })
  }

  below(bound: number): number {
    return Math.floor(this.#random() * bound)
  }

  seek(key: string): number {
    return this.log.seek(Buffer.from(key), 0, key.length)
  }

  put(key: string): void {
    const value = 'v'.repeat(this.below(60)) + this.below(1_000)
    const expiresAtMs = this.below(4) === 0 ? this.#nowMs + 1 + this.below(20) : Infinity
    if (this.below(4) === 0) {
      this.log.settle()
      this.log.update(this.seek(key), value.length, expiresAtMs, this.#slot)
      this.#slot.bytes.set(Buffer.from(value), this.#slot.offset)
    } else {
      this.log.write(this.seek(key), Buffer.from(value), 0, value.length, expiresAtMs)
    }
    this.#entries.set(key, { value, expiresAtMs })
  }

  remove(key: string): void {
    this.log.remove(this.seek(key))
    this.#entries.delete(key)
  }

  pass(ms: number): void {
    this.#nowMs += ms
    this.log.sweep(Infinity)
    for (const [key, { expiresAtMs }] of this.#entries) {
      if (expiresAtMs <= this.#nowMs) this.#entries.delete(key)
    }
  }

  open(withBase: boolean): void {
    this.pass(0)
    const content = new Map(Array.from(this.#entries, ([key, { value }]) => [key, value]))
    const epoch = this.log.openSnapshot()
    this.snapshots.push({ epoch, content })
    for (const base of this.bases) this.#checkChanges(epoch, base, content)
    if (!withBase) return
    const mark = this.log.history.trackChanges(epoch)
    if (mark !== undefined) this.bases.push({ mark, content })
  }

  close(place: number): void {
    const [snapshot] = this.snapshots.splice(place, 1)
    if (snapshot === undefined) return
    for (const order of this.orders.filter((each) => each.snapshot === snapshot)) this.#letGo(order)
    this.log.closeSnapshot(snapshot.epoch)
  }

  release(place: number): void {
    const [base] = this.bases.splice(place, 1)
    if (base !== undefined) this.log.history.changes.releaseBase(base.mark)
  }

  takeOrder(snapshot: OpenSnapshot): void {
    const sorted = this.log.ordered.sortedNow()
    this.orders.push({ snapshot, sorted, pin: this.log.pin() })
  }

  /** The keys of a range, found as deletions of ranges find them. */
  checkRange(from: string, until: string): void {
    const { entries } = this.log
    const found = latestBetween(this.log, Buffer.from(from), Buffer.from(until))
    const keys = Array.from(found, (address) => Buffer.from(entries.copyKey(address)).toString())
    const expected = [...this.#entries.keys()].filter((key) => from <= key && key < until)
    assert.deepEqual(keys.sort(), expected.sort())
  }

  /** All that a snapshot sees, key by key. */
  checkKeys({ epoch, content }: OpenSnapshot, keys: readonly string[]): void {
    for (const key of keys) {
      const address = this.log.visible(this.seek(key), epoch)
      const value = address === 0 ? undefined : this.#valueAt(address)
      if (value !== content.get(key)) expect.fail(`${key} is ${value}, not ${content.get(key)}`)
    }
  }

  /** All that a snapshot sees, by an order of keys that may be old. */
  checkOrder(order: HeldOrder): void {
    const { log } = this
    const seen: [string, string][] = []
    for (const each of walked(order.sorted)) {
      const address = log.visible(log.latest(each), order.snapshot.epoch)
      if (address !== 0)
        seen.push([Buffer.from(log.entries.copyKey(address)).toString(), this.#valueAt(address)])
    }
    const expected = [...order.snapshot.content].sort(([a], [b]) => (a < b ? -1 : 1))
    assert.deepEqual(seen, expected)
    this.#letGo(order)
  }

  #letGo(order: HeldOrder): void {
    this.log.unpin(order.pin)
    this.orders = this.orders.filter((each) => each !== order)
  }

  /** What a reader of changes is told at this moment makes what is there now of what was there at the base. */
  #checkChanges(epoch: number, base: Base, now: Content): void {
    const view = this.log.history.openView(epoch, base.mark)
    if (view?.changes === undefined) return
    const { entries } = this.log
    const content = new Map(base.content)
    for (const address of new Set(joinParts(view.changes))) {
      const units = view.segments[address >>> OFFSET_BITS]?.usedUnits ?? 0
      const isThere = (address & OFFSET_MASK) < units && !entries.isBuried(address)
      if (!isThere || entries.epoch(address) <= base.mark.epoch) continue
      const key = Buffer.from(entries.copyKey(address)).toString()
      if (entries.isTombstone(address)) content.delete(key)
      else content.set(key, this.#valueAt(address))
    }
    this.log.history.endView(view)
    assert.deepEqual(content, now)
  }

  #valueAt(address: number): string {
    return Buffer.from(this.log.entries.copyValue(address)).toString()
  }
}

function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `key-${i}`)
}

describe('HashLog, with snapshots, bases and orders of keys that come and go', () => {
  it.each(Array.from({ length: LONG ? 60 : 8 }, (_, i) => i + 1))(
    'shows each what it began with, and keeps nothing for those that are gone (seed %i)',
    (seed) => {
      const world = new World(seed)
      const keys = numbered(20 + world.below(200))
      const any = () => keys[world.below(keys.length)] as string
      for (let step = 0; step < (LONG ? 5_000 : 1_000); step++) {
        const choice = world.below(1_000)
        const snapshot = world.snapshots[world.below(world.snapshots.length)]
        const order = world.orders[world.below(world.orders.length)]
        if (choice < 550) for (let i = world.below(10); i >= 0; i--) world.put(any())
        else if (choice < 880) world.remove(any())
        else if (choice < 920) world.pass(world.below(4))
        else if (choice < 940) world.open(world.below(2) === 0)
        else if (choice < 958) world.close(world.below(world.snapshots.length))
        else if (choice < 966) world.release(world.below(world.bases.length))
        else if (choice < 970) world.log.tidy(Infinity)
        else if (choice < 985 && snapshot !== undefined) world.checkKeys(snapshot, keys)
        else if (choice < 990 && snapshot !== undefined) world.takeOrder(snapshot)
        else if (choice < 994) world.checkRange(any(), any())
        else if (order !== undefined) world.checkOrder(order)
      }
      for (const order of world.orders) world.checkOrder(order)
      for (const snapshot of world.snapshots) world.checkKeys(snapshot, keys)
      while (world.snapshots.length > 0) world.close(0)
      while (world.bases.length > 0) world.release(0)
      for (const key of keys) world.remove(key)
      for (let i = 0; i < 2; i++) world.log.tidy(Infinity)
      expect([world.log.count, world.log.keys, world.log.hasChores]).toEqual([0, 0, false])
      expect(world.log.memory.segmentBytes).toBeLessThanOrEqual(3 * SEGMENT_BYTES)
    },
  )
})

// The entries of an interval, newest versions only: sorted runs of the write buffer's generations over the store.

import { EVERYTHING, type KeyInterval } from '../../backend/scan-range.js'
import { compareBytes } from '../../base/bytes.js'
import type { HashLog } from '../../log/hash-log.js'
import type { SortedKeys } from '../../log/order/sorted-keys.js'
import { type Cursor, LookupCursor, RunCursor, type SortedRun, StoreCursor } from '../store/cursors.js'
import type { DeletedRanges } from '../store/deleted-ranges.js'
import type { StoreView } from '../store/store-view.js'

/** A generation as of one instant: the log's versions of at most this epoch. */
export interface Layer {
  readonly log: HashLog
  readonly epoch: number
  /** The order of its keys as it is now may be read until the layer is released. */
  hold(): void
  /** The same for another reader, who releases it as well. */
  retain(): Layer
  /** This reader needs it no more. */
  release(): void
}

/** A layer with its keys in order. */
export interface SortedLayer extends Layer {
  readonly sorted: SortedKeys
}

/** What a snapshot reads. */
export interface SortedLayers {
  /** Newest first. */
  readonly layers: readonly SortedLayer[]
  /** What the view shows of these ranges does not count. */
  readonly deleted: DeletedRanges
  /** Undefined: nothing below the layers shows through. */
  readonly view: StoreView | undefined
  readonly takenAtMs: number
}

export interface MergeOptions {
  readonly nowMs: number
  readonly reverse: boolean
  /** Entries at most. */
  readonly limit: number
  /** Keys that are deleted or have expired come too. */
  readonly withDeleted: boolean
}

const NOTHING = new Uint8Array(0)

export class MergedScan {
  /** Of the entry that `next` went to; no value: there is none under the key. */
  key: Uint8Array = NOTHING
  value: Uint8Array | undefined
  expiresAtMs: number = Infinity
  /** Where the newest version of the key came from. */
  source: Cursor | undefined
  /** `next` stopped before it found an entry or the end. */
  paused = false
  readonly #cursors: readonly Cursor[]
  readonly #options: MergeOptions
  readonly #sign: number
  #left: number

  /** It is the cursors' only user, and closes them at its end. Cursors in the order of their age, newest first. */
  constructor(cursors: readonly Cursor[], options: MergeOptions) {
    this.#cursors = cursors
    this.#options = options
    this.#sign = options.reverse ? -1 : 1
    this.#left = options.limit
  }

  /** Goes to the next entry; false at the end. `steps` bounds the keys looked at, and `paused` tells that they ran out. */
  next(steps: number = Infinity): boolean {
    const { nowMs, withDeleted } = this.#options
    this.paused = false
    for (let i = 0; this.#left > 0; i++) {
      if (i >= steps) {
        this.paused = true
        return false
      }
      const cursor = this.#first()
      if (cursor?.key === undefined) break
      const { key } = cursor
      const value = cursor.read(nowMs)
      const { expiresAtMs } = cursor
      this.#pass(key)
      if (value === undefined && !withDeleted) continue
      this.key = key
      this.source = cursor
      this.value = value
      this.expiresAtMs = expiresAtMs
      this.#left--
      return true
    }
    this.close()
    return false
  }

  /** Nobody goes on with it: there is no next entry. */
  close(): void {
    for (const cursor of this.#cursors) cursor.close()
  }

  /** The cursor whose key comes first; among those of one key, the newest. */
  #first(): Cursor | undefined {
    const cursors = this.#cursors
    let first = cursors[0]
    for (let i = 1; i < cursors.length; i++) {
      const cursor = cursors[i] as Cursor
      if (cursor.key === undefined) continue
      if (first?.key === undefined || compareBytes(cursor.key, first.key) * this.#sign < 0) first = cursor
    }
    return first
  }

  #pass(key: Uint8Array): void {
    if (this.#cursors.length === 1) {
      this.#cursors[0]?.advance()
      return
    }
    for (const cursor of this.#cursors) {
      if (cursor.key !== undefined && compareBytes(cursor.key, key) === 0) cursor.advance()
    }
  }
}

export function scanLayers(
  { layers, deleted, view, takenAtMs: nowMs }: SortedLayers,
  interval: KeyInterval,
): MergedScan {
  const { reverse, limit } = interval
  const filled = layers.filter(({ sorted }) => !sorted.isEmpty)
  const cursors: Cursor[] = filled.map((layer) => new RunCursor(runOf(layer, interval), reverse))
  if (view !== undefined) cursors.push(new StoreCursor(view, interval, deleted, filled.length > 0))
  return new MergedScan(cursors, { nowMs, reverse, limit, withDeleted: false })
}

/** What layers over a view hold under the keys of the layers and under those of `changed`, deleted ones included. */
export function changesOver(
  layers: readonly SortedLayer[],
  view: StoreView | undefined,
  changed: SortedRun,
  nowMs: number,
): MergedScan {
  const filled = layers.filter(({ sorted }) => !sorted.isEmpty)
  const cursors: Cursor[] = filled.map((layer) => new RunCursor(runOf(layer, EVERYTHING), false))
  cursors.push(new LookupCursor(view, changed))
  return new MergedScan(cursors, { nowMs, reverse: false, limit: Infinity, withDeleted: true })
}

function runOf({ log, epoch, sorted }: SortedLayer, { from, until }: KeyInterval): SortedRun {
  const { entries } = log
  const keys = log.ordered.range(sorted, from, until)
  const version = (address: number) => entries.version(log.latest(address), epoch)
  return { entries, keys, version }
}

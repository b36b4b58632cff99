// The entries of an interval, newest versions only: sorted runs of the write buffer's generations over pages of the store.

import type { KeyInterval } from '../backend/scan-range.js'
import { compareBytes } from '../base/bytes.js'
import type { HashLog } from '../log/hash-log.js'
import { checkRecord, recordExpiry, recordPart } from './record.js'
import type { StoreView } from './store-view.js'

/** A generation as of one instant: the log's versions of at most this epoch. */
export interface Layer {
  readonly log: HashLog
  readonly epoch: number
}

/** A layer with its keys in order. */
export interface SortedLayer extends Layer {
  readonly sorted: Uint32Array
}

/** Where a cursor stands; `key` is undefined past its end. */
interface Cursor {
  readonly key: Uint8Array | undefined
  advance(): void
  /** The value, as bytes of the caller's own; undefined where the key is deleted or has expired at `nowMs`. */
  read(nowMs: number): Uint8Array | undefined
  readonly expiresAtMs: number
}

const FIRST_PAGE = 32
const LARGEST_PAGE = 1024

export class MergedScan {
  /** Of the entry that `next` went to. */
  key: Uint8Array
  value: Uint8Array
  expiresAtMs: number = Infinity
  /** `next` stopped before it found an entry or the end. */
  paused = false
  readonly #cursors: readonly Cursor[]
  readonly #nowMs: number
  readonly #sign: number
  #left: number

  /** Layers newest first; `view` undefined: nothing below them shows through. */
  constructor(
    layers: readonly SortedLayer[],
    view: StoreView | undefined,
    nowMs: number,
    interval: KeyInterval,
  ) {
    const cursors: Cursor[] = layers.map((layer) => new LayerCursor(layer, interval))
    if (view !== undefined) cursors.push(new StoreCursor(view, interval, layers.length > 0))
    this.#cursors = cursors
    this.#nowMs = nowMs
    this.#sign = interval.reverse ? -1 : 1
    this.#left = interval.limit
    this.key = NOTHING
    this.value = NOTHING
  }

  /** Goes to the next entry; false at the end. `steps` bounds the keys looked at, and `paused` tells that they ran out. */
  next(steps: number = Infinity): boolean {
    this.paused = false
    for (let i = 0; this.#left > 0; i++) {
      if (i >= steps) {
        this.paused = true
        return false
      }
      const cursor = this.#first()
      if (cursor?.key === undefined) return false
      const { key } = cursor
      const value = cursor.read(this.#nowMs)
      const { expiresAtMs } = cursor
      this.#pass(key)
      if (value === undefined) continue
      this.key = key
      this.value = value
      this.expiresAtMs = expiresAtMs
      this.#left--
      return true
    }
    return false
  }

  /** The cursor whose key comes first; among those of one key, that of the newest layer. */
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

const NOTHING = new Uint8Array(0)

class LayerCursor implements Cursor {
  key: Uint8Array | undefined
  expiresAtMs = Infinity
  readonly #layer: SortedLayer
  readonly #step: number
  #at: number
  #left: number
  #address = 0

  constructor(layer: SortedLayer, { from, until, reverse }: KeyInterval) {
    this.#layer = layer
    const [first, end] = layer.log.ordered.range(layer.sorted, from, until)
    this.#step = reverse ? -1 : 1
    this.#at = reverse ? end - 1 : first
    this.#left = end - first
    this.advance()
  }

  advance(): void {
    const { log, epoch, sorted } = this.#layer
    for (; this.#left > 0; this.#left--) {
      const address = log.entries.version(log.latest(sorted[this.#at] as number), epoch)
      this.#at += this.#step
      if (address === 0) continue
      this.#left--
      this.#address = address
      this.key = log.entries.copyKey(address)
      return
    }
    this.key = undefined
  }

  read(nowMs: number): Uint8Array | undefined {
    const { entries } = this.#layer.log
    if (entries.isTombstone(this.#address)) return undefined
    this.expiresAtMs = entries.expiresAtMs(this.#address)
    return this.expiresAtMs > nowMs ? entries.copyValue(this.#address) : undefined
  }
}

class StoreCursor implements Cursor {
  key: Uint8Array | undefined
  expiresAtMs = Infinity
  readonly #view: StoreView
  readonly #reverse: boolean
  #from: Uint8Array
  #until: Uint8Array | undefined
  #keys: Uint8Array[] = []
  #records: Uint8Array[] = []
  #at = -1
  #pageEntries: number
  #ended = false

  constructor(view: StoreView, { from, until, reverse, limit }: KeyInterval, covered: boolean) {
    this.#view = view
    this.#reverse = reverse
    this.#from = from
    this.#until = until
    this.#pageEntries = covered ? FIRST_PAGE : Math.min(Math.max(limit, 1), FIRST_PAGE)
    this.advance()
  }

  advance(): void {
    if (++this.#at === this.#keys.length) this.#turnPage()
    this.key = this.#keys[this.#at]
  }

  read(nowMs: number): Uint8Array | undefined {
    const key = this.key as Uint8Array
    const record = this.#records[this.#at] as Uint8Array
    checkRecord(record, key)
    this.expiresAtMs = recordExpiry(record)
    return this.expiresAtMs > nowMs ? recordPart(record, key) : undefined
  }

  #turnPage(): void {
    const last = this.#keys.at(-1)
    if (last !== undefined) {
      if (this.#reverse) this.#until = last
      else {
        // The smallest key above the last one.
        this.#from = new Uint8Array(last.length + 1)
        this.#from.set(last)
      }
    }
    this.#at = 0
    if (this.#ended) {
      this.#keys = []
      return
    }
    const page = this.#view.page(this.#from, this.#until, this.#reverse, this.#pageEntries)
    this.#ended = page.keys.length < this.#pageEntries
    this.#keys = page.keys
    this.#records = page.records
    this.#pageEntries = Math.min(this.#pageEntries * 4, LARGEST_PAGE)
  }
}

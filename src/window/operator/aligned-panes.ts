// The panes of aligned windows: which ones there are, in order, and which windows each of them is in.

import { floorTo, isPaned, type TimeWindow, type WindowAssigner } from '../assign/assigner.js'
import type { CombinedPane } from './combined-panes.js'
import { KeyTable } from './key-table.js'

/** What is kept of a stretch of time: for each key an accumulator. */
export class Pane implements CombinedPane {
  /** None has the same one for a long time. */
  readonly number: number
  readonly startMs: number
  readonly endMs: number
  /** The ends of the first and of the last window that it is in. */
  readonly firstEndMs: number
  readonly lastEndMs: number
  readonly table: KeyTable
  /** That of the keys that its table has in common with those of other panes. */
  keysNumber: number
  /** Something was added to it. */
  isKept = false
  /** How many keys have something in it. */
  keys = 0
  /** The store has something of it. */
  isStored = false
  isDirty = false

  constructor(
    number: number,
    { startMs, endMs }: TimeWindow,
    firstEndMs: number,
    lastEndMs: number,
    table: KeyTable,
  ) {
    this.number = number
    this.keysNumber = number
    this.startMs = startMs
    this.endMs = endMs
    this.firstEndMs = firstEndMs
    this.lastEndMs = lastEndMs
    this.table = table
  }
}

export class AlignedPanes {
  readonly #windows: WindowAssigner
  readonly #byStart = new Map<number, Pane>()
  /** In the order of their starts. */
  readonly #inOrder: Pane[] = []
  /** A table that was dropped, to be used again. */
  #spare: KeyTable | undefined
  #lastNumber = 0

  constructor(windows: WindowAssigner) {
    this.#windows = windows
  }

  /** Keys in all of them. */
  get keys(): number {
    let keys = 0
    for (const pane of this.#inOrder) keys += pane.keys
    return keys
  }

  all(): Iterable<Pane> {
    return this.#byStart.values()
  }

  from(startMs: number): Pane | undefined {
    return this.#byStart.get(startMs)
  }

  /** The pane of a time; it is one of these once it is kept. `undefined`: no window has that time. */
  of(timestampMs: number): Pane | undefined {
    const windows = this.#windows
    let interval: TimeWindow | undefined
    if (isPaned(windows)) {
      const startMs = floorTo(timestampMs, windows.paneMs, windows.offsetMs)
      interval = { startMs, endMs: startMs + windows.paneMs }
    } else {
      interval = windows.windowsOf(timestampMs)[0]
    }
    if (interval === undefined) return undefined
    const found = this.#byStart.get(interval.startMs)
    if (found !== undefined) return found
    const firstEndMs = isPaned(windows) ? windows.nextEndMs(timestampMs, -Infinity) : interval.endMs
    const lastEndMs = isPaned(windows) ? windows.lastEndMs(timestampMs) : interval.endMs
    if (firstEndMs === undefined || lastEndMs === undefined) return undefined
    const table = this.#spare ?? new KeyTable()
    this.#spare = undefined
    return new Pane(this.nextNumber(), interval, firstEndMs, lastEndMs, table)
  }

  keep(pane: Pane): void {
    this.#byStart.set(pane.startMs, pane)
    this.#inOrder.splice(this.#countBefore(pane.startMs), 0, pane)
    pane.isKept = true
  }

  /** For a pane, or for the keys that several have in common. */
  nextNumber(): number {
    this.#lastNumber = (this.#lastNumber + 1) | 0 || 1
    return this.#lastNumber
  }

  /** When the window ends that is the next one behind a time; Infinity where nothing is in any. */
  nextEndMs(afterMs: number): number {
    const [earliest] = this.#inOrder
    return earliest === undefined ? Infinity : this.nextEndOf(earliest, afterMs)
  }

  /** The same of the windows that a pane is in. */
  nextEndOf(pane: Pane, afterMs: number): number {
    const windows = this.#windows
    if (pane.lastEndMs <= afterMs) return Infinity
    if (!isPaned(windows)) return pane.endMs
    return windows.nextEndMs(pane.startMs, afterMs) ?? Infinity
  }

  /** The window that ends then. */
  windowTo(endMs: number): TimeWindow {
    return { startMs: this.#startOf(endMs), endMs }
  }

  #startOf(endMs: number): number {
    const windows = this.#windows
    if (isPaned(windows)) return windows.startOf(endMs)
    for (const pane of this.#inOrder) if (pane.endMs === endMs) return pane.startMs
    throw new Error('a window without a pane')
  }

  /** The panes of a window. */
  in({ startMs, endMs }: TimeWindow): Pane[] {
    return this.#inOrder.slice(this.#countBefore(startMs), this.#countBefore(endMs))
  }

  /** Takes out the first one, where no window that it is in ends behind a time. */
  takeEnded(untilMs: number): Pane | undefined {
    const [first] = this.#inOrder
    if (first === undefined || first.lastEndMs > untilMs) return undefined
    this.#inOrder.shift()
    this.#byStart.delete(first.startMs)
    return first
  }

  get wantsSpare(): boolean {
    return this.#spare === undefined
  }

  /** An empty table, for a pane to come. */
  set spare(table: KeyTable) {
    this.#spare = table
  }

  /** How many panes start before a time. */
  #countBefore(startMs: number): number {
    const panes = this.#inOrder
    let low = 0
    let high = panes.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((panes[middle] as Pane).startMs < startMs) low = middle + 1
      else high = middle
    }
    return low
  }
}

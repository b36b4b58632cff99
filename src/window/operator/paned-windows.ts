// Windows that are made of panes: an event changes one pane, however many windows it is in, and a window that closes merges its panes. Each
// window fires once.

import { floorTo, type PanedAssigner } from '../assign/assigner.js'
import type { Accumulator } from './accumulator.js'
import type { Entered, Fire, KeyWindows } from './key-windows.js'
import { WindowList } from './window-list.js'

const ON_TIME = Object.freeze({ index: 0, kind: 'onTime', isFinal: true } as const)
const EARLY = Object.freeze({ index: 0, kind: 'early', isFinal: false } as const)

export class PanedWindows implements KeyWindows {
  readonly startsDiffer = false
  readonly #assigner: PanedAssigner
  readonly #list: WindowList
  readonly #accumulator: Accumulator
  readonly #fire: Fire
  /** What several panes come to. */
  readonly #merged = new WindowList()

  constructor(assigner: PanedAssigner, list: WindowList, accumulator: Accumulator, fire: Fire) {
    this.#assigner = assigner
    this.#list = list
    this.#accumulator = accumulator
    this.#fire = fire
    this.#merged.insert(0, 0, 0, accumulator.zeroBytes)
  }

  enter(event: unknown, timestampMs: number, watermarkMs: number, entered: Entered): void {
    const assigner = this.#assigner
    const list = this.#list
    const firstEndMs = assigner.nextEndMs(timestampMs, -Infinity)
    if (firstEndMs === undefined) return
    if (firstEndMs <= watermarkMs + 1) {
      for (const window of assigner.windowsOf(timestampMs)) {
        if (window.endMs <= watermarkMs + 1) entered.missed.push(window)
      }
    }
    const endMs = assigner.nextEndMs(timestampMs, watermarkMs + 1)
    if (endMs === undefined) return
    const startMs = floorTo(timestampMs, assigner.paneMs, assigner.offsetMs)
    const paneEndMs = startMs + assigner.paneMs
    const i = list.placeOf(startMs, paneEndMs)
    if (!list.isAt(i, startMs, paneEndMs)) {
      const dueMs = endMs - 1
      const before = this.nextDueMs(watermarkMs)
      if (before === undefined || dueMs < before) entered.dueMs = dueMs
      // What has fired already does not fire again because of this pane, whenever the store is opened.
      list.firedEndMs = Math.max(list.firedEndMs, watermarkMs + 1)
      list.insert(i, startMs, paneEndMs, this.#accumulator.zeroBytes)
      this.#accumulator.reset(list, i)
    }
    this.#accumulator.add(list, i, event, timestampMs)
    entered.hasEntered = true
  }

  fireEntered(): void {}

  fireAwaited(): void {}

  isAwaited(): boolean {
    return false
  }

  fireDue(dueMs: number): void {
    const endMs = dueMs + 1
    this.#fireWindow(this.#assigner.startOf(endMs), endMs, this.#fire, ON_TIME)
    const list = this.#list
    list.firedEndMs = endMs
    for (let i = 0; i < list.count; ) {
      if (this.#assigner.nextEndMs(list.startMs(i), endMs) === undefined) list.remove(i)
      else i++
    }
  }

  nextDueMs(afterMs: number): number | undefined {
    const list = this.#list
    const afterEndMs = Math.max(afterMs + 1, list.firedEndMs)
    let least: number | undefined
    for (let i = 0; i < list.count; i++) {
      const endMs = this.#assigner.nextEndMs(list.startMs(i), afterEndMs)
      if (endMs !== undefined && (least === undefined || endMs < least)) least = endMs
    }
    return least === undefined ? undefined : least - 1
  }

  firstStartMs(dueMs: number): number {
    return this.#assigner.startOf(dueMs + 1)
  }

  show(fire: Fire): void {
    for (let dueMs = this.nextDueMs(-Infinity); dueMs !== undefined; dueMs = this.nextDueMs(dueMs)) {
      this.#fireWindow(this.#assigner.startOf(dueMs + 1), dueMs + 1, fire, EARLY)
    }
  }

  #fireWindow(startMs: number, endMs: number, fire: Fire, pane: typeof ON_TIME | typeof EARLY): void {
    const list = this.#list
    let first = 0
    while (first < list.count && list.startMs(first) < startMs) first++
    let end = first
    while (end < list.count && list.startMs(end) < endMs) end++
    if (end === first) return
    const window = { startMs, endMs }
    const accumulator = this.#accumulator
    if (end === first + 1) {
      fire(window, accumulator.result(list, first), pane, undefined)
      return
    }
    const merged = this.#merged
    accumulator.copy(merged, 0, list, first)
    for (let i = first + 1; i < end; i++) accumulator.merge(merged, 0, list, i)
    fire(window, accumulator.result(merged, 0), pane, undefined)
  }
}

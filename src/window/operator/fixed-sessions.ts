// The sessions of one key where they lie: of those that each take the same number of bytes, so that one is found without reading the others, and
// nothing is copied but what changes. The form is that of `WindowList`.

import type { ViewedBytes } from '../../base/slot.js'
import { HAS_VALUE } from './accumulator.js'
import { ONE_WINDOW } from './window-list.js'
import { FIRED_ON_TIME, PANES_AT } from './window-page.js'

/** Where a value's first window begins. */
const HEAD_BYTES = ONE_WINDOW.startAt

/** Works on whatever it was shown last, until that is moved. */
export class FixedSessions {
  /** Of one session. */
  readonly strideBytes: number
  readonly #accumulatorBytes: number
  #memory: ViewedBytes = { bytes: new Uint8Array(0), view: new DataView(new ArrayBuffer(0)) }
  #at = 0
  count = 0

  constructor(accumulatorBytes: number) {
    this.#accumulatorBytes = accumulatorBytes
    this.strideBytes = ONE_WINDOW.accumulatorAt + accumulatorBytes - HEAD_BYTES
  }

  /** The length of a value with so many sessions. */
  bytesOf(count: number): number {
    return HEAD_BYTES + count * this.strideBytes
  }

  show(memory: ViewedBytes, at: number, length: number): void {
    this.#memory = memory
    this.#at = at
    this.count = (length - HEAD_BYTES) / this.strideBytes
  }

  get memory(): ViewedBytes {
    return this.#memory
  }

  /** Where a session begins. */
  placeOf(i: number): number {
    return this.#at + HEAD_BYTES + i * this.strideBytes
  }

  accumulatorAt(i: number): number {
    return this.placeOf(i) + ONE_WINDOW.accumulatorAt - HEAD_BYTES
  }

  startMs(i: number): number {
    return this.#memory.view.getFloat64(this.placeOf(i), true)
  }

  endMs(i: number): number {
    return this.#memory.view.getFloat64(this.placeOf(i) + ONE_WINDOW.endAt - HEAD_BYTES, true)
  }

  setInterval(i: number, startMs: number, endMs: number): void {
    this.#memory.view.setFloat64(this.placeOf(i), startMs, true)
    this.#memory.view.setFloat64(this.placeOf(i) + ONE_WINDOW.endAt - HEAD_BYTES, endMs, true)
  }

  /** One event more has entered it. */
  noteChange(i: number): void {
    const { view } = this.#memory
    const at = this.placeOf(i) + ONE_WINDOW.changesAt - HEAD_BYTES
    view.setUint32(at, Math.min(view.getUint32(at, true) + 1, 0xffffffff), true)
  }

  /** The first session that does not end before a time: they are apart from each other, so their ends are in the order of their starts. */
  firstEndingFrom(timeMs: number): number {
    let low = 0
    let high = this.count
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.endMs(middle) < timeMs) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Makes room for a session at a place, of a value that has been made longer by one. */
  open(i: number): void {
    const { bytes, view } = this.#memory
    const at = this.placeOf(i)
    bytes.copyWithin(at + this.strideBytes, at, this.placeOf(this.count))
    bytes.fill(0, at, at + this.strideBytes)
    view.setUint16(at + ONE_WINDOW.flagsAt - HEAD_BYTES, HAS_VALUE, true)
    view.setUint32(at + ONE_WINDOW.lengthAt - HEAD_BYTES, this.#accumulatorBytes, true)
    this.count++
  }

  /** One event more makes sessions that are next to each other the first of them, which has their values by then; the value is then shorter. */
  join(from: number, until: number, startMs: number, endMs: number): void {
    const { bytes, view } = this.#memory
    let changes = 1
    let lastMs = endMs
    for (let i = from; i < until; i++) {
      changes += view.getUint32(this.placeOf(i) + ONE_WINDOW.changesAt - HEAD_BYTES, true)
      lastMs = Math.max(lastMs, this.endMs(i))
    }
    this.setInterval(from, Math.min(startMs, this.startMs(from)), lastMs)
    const at = this.placeOf(from)
    view.setUint32(at + ONE_WINDOW.changesAt - HEAD_BYTES, Math.min(changes, 0xffffffff), true)
    view.setUint32(at + PANES_AT, 0, true)
    view.setUint16(at + ONE_WINDOW.flagsAt - HEAD_BYTES, HAS_VALUE, true)
    bytes.copyWithin(this.placeOf(from + 1), this.placeOf(until), this.placeOf(this.count))
    this.count -= until - from - 1
  }

  /** Takes a session out; the value is then shorter by one. */
  close(i: number): void {
    this.#memory.bytes.copyWithin(this.placeOf(i), this.placeOf(i + 1), this.placeOf(this.count))
    this.count--
  }

  /** It has been put out, and `dropFired` takes it away. */
  setFired(i: number): void {
    const at = this.placeOf(i) + ONE_WINDOW.flagsAt - HEAD_BYTES
    this.#memory.view.setUint16(at, this.#memory.view.getUint16(at, true) | FIRED_ON_TIME, true)
  }

  /** Takes the sessions away that were put out: the first ones, since they end first. */
  dropFired(): void {
    let fired = 0
    while (fired < this.count && this.#isFired(fired)) fired++
    this.#memory.bytes.copyWithin(this.placeOf(0), this.placeOf(fired), this.placeOf(this.count))
    this.count -= fired
  }

  #isFired(i: number): boolean {
    const at = this.placeOf(i) + ONE_WINDOW.flagsAt - HEAD_BYTES
    return (this.#memory.view.getUint16(at, true) & FIRED_ON_TIME) !== 0
  }
}

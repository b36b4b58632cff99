// The writes of a batch, before it is applied: a layer above the engine that reads inside the batch look through.
//
// (1) Nothing reaches the engine before `addTo` has put everything into one `WriteBatch`.
// (2) What a removal of a range hides is what the engine holds; what is written after it is seen.

import type { Entry, PutOptions, ScanRange } from '../../backend/types.js'
import type { WriteBatch } from '../../backend/write-batch.js'
import { compareBytes, startsWith } from '../../base/bytes.js'
import type { Slot, Stretch } from '../../base/slot.js'
import type { ByteWriter } from '../codec/bytes.js'
import { show } from './backend-entries.js'
import type { AssembledKey, Entries, Underlying } from './entries.js'

interface Written {
  readonly key: Uint8Array
  /** `undefined`: the key was removed. */
  readonly value: Uint8Array | undefined
  readonly options: PutOptions | undefined
}

/** Everything from one key up to, and without, another one. */
interface RemovedRange {
  readonly gte: Uint8Array
  readonly lt: Uint8Array
}

const isIn = (key: Uint8Array, { gte, lt }: RemovedRange): boolean =>
  compareBytes(key, gte) >= 0 && compareBytes(key, lt) < 0

export class Overlay implements Entries {
  readonly #under: Underlying
  readonly #written = new Map<string, Written>()
  readonly #removed: RemovedRange[] = []

  constructor(under: Underlying) {
    this.#under = under
  }

  get isEmpty(): boolean {
    return this.#written.size === 0 && this.#removed.length === 0
  }

  peek(key: AssembledKey, slot: Slot): boolean {
    const written = this.#written.get(nameOfStretch(key.stretch))
    if (written !== undefined) {
      if (written.value === undefined) return false
      show(written.value, slot)
      return true
    }
    if (this.#removed.length > 0 && this.hides(key.view())) return false
    return this.#under.peek(key, slot)
  }

  put(key: AssembledKey, value: Pick<ByteWriter, 'copy'>, options: PutOptions | undefined): void {
    const written = { key: key.copy(), value: value.copy(), options }
    this.#written.set(nameOfStretch(key.stretch), written)
  }

  remove(key: AssembledKey): void {
    const copy = key.copy()
    this.#written.set(nameOf(copy), { key: copy, value: undefined, options: undefined })
  }

  removeRange(from: Uint8Array, until: Uint8Array): void {
    const range = { gte: from, lt: until }
    for (const [name, { key }] of this.#written) if (isIn(key, range)) this.#written.delete(name)
    this.#removed.push(range)
  }

  *list(from: Uint8Array, until: Uint8Array): Iterable<Entry> {
    const merged = this.in({ gte: from, lt: until })
    for (const entry of this.#under.list(from, until)) yield* merged.upTo(entry)
    yield* merged.rest()
  }

  /** Hands everything that was written to another overlay, above which this one lay. */
  moveTo(below: Overlay): void {
    for (const { gte, lt } of this.#removed) below.removeRange(gte, lt)
    for (const [name, written] of this.#written) below.#written.set(name, written)
  }

  /** What was written of single keys; a value of `undefined`: it was removed. */
  writes(): Iterable<{ readonly key: Uint8Array; readonly value: Uint8Array | undefined }> {
    return this.#written.values()
  }

  /** What was written under a key; `undefined` where nothing was. */
  valueOf(key: Uint8Array): Uint8Array | undefined {
    return this.#written.get(nameOf(key))?.value
  }

  /** The ranges that were removed, some of which may have been written to since. */
  get removals(): readonly { readonly gte: Uint8Array; readonly lt: Uint8Array }[] {
    return this.#removed
  }

  /** Whether what the engine holds under a key was removed as one of many. */
  hides(key: Uint8Array): boolean {
    return this.#removed.some((range) => isIn(key, range))
  }

  /** Everything that was written, as operations: what is removed as one of many goes before what was written after it. */
  addTo(batch: WriteBatch): void {
    for (const range of this.#removed) batch.deleteRange(range)
    for (const { key, value, options } of this.#written.values()) {
      if (value === undefined) batch.delete(key)
      else batch.put(key, value, options)
    }
  }

  /** The writes in a range as they are now, in its order, to be merged into a scan of the engine. */
  in(range: ScanRange): OverlayScan {
    const { prefix, gte, lt, reverse = false } = range
    const inside = [...this.#written.values()].filter(
      ({ key }) =>
        (prefix === undefined || startsWith(key, prefix)) &&
        (gte === undefined || compareBytes(key, gte) >= 0) &&
        (lt === undefined || compareBytes(key, lt) < 0),
    )
    const sign = reverse ? -1 : 1
    inside.sort((left, right) => sign * compareBytes(left.key, right.key))
    return new OverlayScan(inside, [...this.#removed], sign)
  }
}

/** Merges the writes of an overlay into the entries of a scan, in whichever way these come. */
export class OverlayScan {
  readonly #written: readonly Written[]
  readonly #removed: readonly RemovedRange[]
  readonly #sign: number
  #next = 0

  constructor(written: readonly Written[], removed: readonly RemovedRange[], sign: number) {
    this.#written = written
    this.#removed = removed
    this.#sign = sign
  }

  /** What comes before the engine's next entry, and then that entry, unless it was written anew or removed. */
  *upTo(entry: Entry): Generator<Entry, void, undefined> {
    for (;;) {
      const written = this.#written[this.#next]
      const order = written === undefined ? 1 : this.#sign * compareBytes(written.key, entry[0])
      if (order > 0) break
      this.#next++
      if (written?.value !== undefined) yield [written.key, written.value]
      if (order === 0) return
    }
    if (!this.#removed.some((range) => isIn(entry[0], range))) yield entry
  }

  /** What comes behind the engine's last entry. */
  *rest(): Generator<Entry, void, undefined> {
    for (; this.#next < this.#written.length; this.#next++) {
      const written = this.#written[this.#next]
      if (written?.value !== undefined) yield [written.key, written.value]
    }
  }
}

/** A map's key for bytes: every byte one character. */
export function nameOf(key: Uint8Array): string {
  return latin1Slice.call(key, 0, key.length)
}

function nameOfStretch({ bytes, offset, length }: Stretch): string {
  return latin1Slice.call(bytes, offset, offset + length)
}

const { latin1Slice } = Buffer.prototype as unknown as {
  latin1Slice(this: Uint8Array, start: number, end: number): string
}

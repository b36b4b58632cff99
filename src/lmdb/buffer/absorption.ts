import { runSliced, runThrough, SLICE_MS, type SlicedWork } from '../../base/slices.js'
import { Slot } from '../../base/slot.js'
import { LatestVersions } from '../../log/order/latest-versions.js'
import { SegmentTable } from '../../log/segment-table.js'
import type { Generation } from './generation.js'
import type { ReadCache } from './read-cache.js'
import type { WriteBuffer } from './write-buffer.js'

const STEP_ENTRIES = 64
/** So many generations may wait for their turn: each is one more place for a read to look in. */
const WAITING_AT_MOST = 4

/** Where somebody is about to hear that a write is durable: a fraction of what that takes. */
const SHORT_SLICE_MS = 0.2

/** Moves what was committed from the write buffer to the read cache, in slices, one generation at a time. */
export class Absorption {
  readonly #buffer: WriteBuffer
  readonly #cache: ReadCache
  readonly #onKey: (generation: Generation, bytes: Uint8Array, start: number, length: number) => void
  readonly #isHurried: () => boolean
  /** The value at hand. */
  readonly #value = new Slot()
  /** Goes on until the entries of all that wait are in the cache; each generation is then dropped from the buffer. */
  #work: SlicedWork<void> | undefined
  /** The oldest first; the first one is at work. */
  readonly #waiting: Generation[] = []

  /** `onKey` is told of every key; `isHurried`: slices are to be short. */
  constructor(
    buffer: WriteBuffer,
    cache: ReadCache,
    onKey: (generation: Generation, bytes: Uint8Array, start: number, length: number) => void,
    isHurried: () => boolean,
  ) {
    this.#buffer = buffer
    this.#cache = cache
    this.#onKey = onKey
    this.#isHurried = isHurried
  }

  begin(generation: Generation): void {
    // A large one is not hurried by the small ones behind it.
    if (this.#waiting.length === WAITING_AT_MOST) this.finish()
    this.#waiting.push(generation)
    if (this.#work !== undefined) return
    const work = this.#absorbAll()
    this.#work = work
    void runSliced(work, undefined, () => (this.#isHurried() ? SHORT_SLICE_MS : SLICE_MS))
  }

  /** Does at once what is left to do. */
  finish(): void {
    if (this.#work !== undefined) runThrough(this.#work)
  }

  /** Nobody reads any more: what waits is let go of as it is, however much that is. */
  forget(): void {
    this.#work?.return()
    this.#work = undefined
    for (const generation of this.#waiting.splice(0)) this.#buffer.drop(generation)
  }

  *#absorbAll(): SlicedWork<void> {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      yield* this.#absorb(next)
      this.#buffer.drop(next)
      this.#waiting.shift()
    }
    this.#work = undefined
  }

  *#absorb(generation: Generation): SlicedWork<void> {
    if (generation.cleared) this.#cache.clear()
    const { entries } = generation.log
    const latest = new LatestVersions(SegmentTable.attach(generation.log.share()))
    let steps = 0
    for (let address = latest.next(); address !== 0; address = latest.next()) {
      if (++steps % STEP_ENTRIES === 0) yield
      const bytes = entries.segmentBytes(address)
      const start = entries.keyStart(address)
      const length = entries.keyLength(address)
      this.#onKey(generation, bytes, start, length)
      if (entries.isTombstone(address)) {
        this.#cache.remove(bytes, start, length)
      } else {
        entries.show(address, this.#value)
        this.#cache.put(bytes, start, length, this.#value, entries.expiresAtMs(address))
      }
    }
  }
}

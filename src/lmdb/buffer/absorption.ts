import { runSliced, runThrough, type SlicedWork } from '../../base/slices.js'
import { Slot } from '../../base/slot.js'
import { LatestVersions } from '../../log/order/latest-versions.js'
import { SegmentTable } from '../../log/segment-table.js'
import type { Generation } from './generation.js'
import type { ReadCache } from './read-cache.js'
import type { WriteBuffer } from './write-buffer.js'

const STEP_ENTRIES = 64

/** Moves what was committed from the write buffer to the read cache, in slices, one generation at a time. */
export class Absorption {
  readonly #buffer: WriteBuffer
  readonly #cache: ReadCache
  readonly #onKey: (generation: Generation, bytes: Uint8Array, start: number, length: number) => void
  /** The value at hand. */
  readonly #value = new Slot()
  /** Goes on until the generation's entries are in the cache; it is then dropped from the buffer. */
  #work: SlicedWork<void> | undefined

  /** `onKey` is told of every key. */
  constructor(
    buffer: WriteBuffer,
    cache: ReadCache,
    onKey: (generation: Generation, bytes: Uint8Array, start: number, length: number) => void,
  ) {
    this.#buffer = buffer
    this.#cache = cache
    this.#onKey = onKey
  }

  begin(generation: Generation): void {
    this.finish()
    const work = this.#absorb(generation)
    this.#work = work
    void runSliced(work)
  }

  /** Does at once what is left to do. */
  finish(): void {
    if (this.#work !== undefined) runThrough(this.#work)
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
    this.#work = undefined
    this.#buffer.drop(generation)
  }
}

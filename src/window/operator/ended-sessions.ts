import type { SlicedWork } from '../../base/slices.js'
import { type KeyedRecords, sortedByKey } from '../due/key-order.js'
import type { KeyTable } from './key-table.js'

const INITIAL_SESSIONS = 1_024
/** Memory of more sessions than this is given back. */
const KEPT_SESSIONS = 16_384
const TWO_32 = 2 ** 32

/** Sessions that have ended, to be put out by end, start and key (W16). */
export class EndedSessions implements KeyedRecords {
  count = 0
  entries: Uint32Array = new Uint32Array(INITIAL_SESSIONS)
  starts: Float64Array = new Float64Array(INITIAL_SESSIONS)
  ends: Float64Array = new Float64Array(INITIAL_SESSIONS)
  readonly #table: KeyTable
  #leastStartMs = Infinity
  #leastEndMs = Infinity
  #mostStartMs = -Infinity
  #mostEndMs = -Infinity

  constructor(table: KeyTable) {
    this.#table = table
  }

  clear(): void {
    this.count = 0
    this.#leastStartMs = Infinity
    this.#leastEndMs = Infinity
    this.#mostStartMs = -Infinity
    this.#mostEndMs = -Infinity
    if (this.entries.length <= KEPT_SESSIONS) return
    this.entries = new Uint32Array(INITIAL_SESSIONS)
    this.starts = new Float64Array(INITIAL_SESSIONS)
    this.ends = new Float64Array(INITIAL_SESSIONS)
  }

  push(entry: number, startMs: number, endMs: number): void {
    if (this.count === this.entries.length) this.#grow()
    const i = this.count++
    this.entries[i] = entry
    this.starts[i] = startMs
    this.ends[i] = endMs
    if (startMs < this.#leastStartMs) this.#leastStartMs = startMs
    if (startMs > this.#mostStartMs) this.#mostStartMs = startMs
    if (endMs < this.#leastEndMs) this.#leastEndMs = endMs
    if (endMs > this.#mostEndMs) this.#mostEndMs = endMs
  }

  *sorted(): SlicedWork<Uint32Array> {
    const order = new Uint32Array(this.count)
    for (let i = 0; i < order.length; i++) order[i] = i
    const areWords =
      this.#mostStartMs - this.#leastStartMs < TWO_32 && this.#mostEndMs - this.#leastEndMs < TWO_32
    if (!areWords) return order.sort((left, right) => this.compareKeys(left, right))
    return yield* sortedByKey(this, order)
  }

  /** End, nothing, and start, as words: few sessions end at the same instant, so that a word of their starts would be sorted for nothing. */
  keyLengthAt(): number {
    return 12
  }

  keyWordAt(i: number, skip: number): number {
    if (skip === 0) return (this.ends[i] as number) - this.#leastEndMs
    return skip === 8 ? (this.starts[i] as number) - this.#leastStartMs : 0
  }

  compareKeys(left: number, right: number): number {
    const byEnd = (this.ends[left] as number) - (this.ends[right] as number)
    if (byEnd !== 0) return byEnd
    const byStart = (this.starts[left] as number) - (this.starts[right] as number)
    if (byStart !== 0) return byStart
    return this.#table.compareKeys(this.entries[left] as number, this.entries[right] as number)
  }

  #grow(): void {
    const { entries, starts, ends } = this
    this.entries = new Uint32Array(entries.length * 2)
    this.entries.set(entries)
    this.starts = new Float64Array(entries.length * 2)
    this.starts.set(starts)
    this.ends = new Float64Array(entries.length * 2)
    this.ends.set(ends)
  }
}

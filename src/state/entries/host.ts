import type { KeyFilter } from '../../backend/state-backend.js'
import type { Entry, ScanRange } from '../../backend/types.js'
import type { SlicedWork } from '../../base/slices.js'
import type { Entries } from './entries.js'

/** An entry of a scan, and which generation of its state has written it: 0 is the present one, 1 the one before. */
export type ScannedEntry = [key: Uint8Array, value: Uint8Array, generation?: number]

/** Runs an operation that is written as if everything were at hand; resolves when it has been, and its writes are applied. */
export interface LaterRunner {
  /** An operation that only reads. */
  read<Result>(operation: () => Result): Promise<Result>
  /** An operation that writes: all of it in one step, and no two at the same entry at a time. */
  write<Result>(operation: () => Result): Promise<Result>
}

/** What the states of a store share: where they read and write, and whether at once. */
export interface Host {
  /** Where an operation reads and writes. It changes from call to call: a batch may be open. */
  readonly entries: Entries
  /** `undefined`: operations are run at once, and their results returned. Otherwise they are run by it. */
  readonly later: LaterRunner | undefined
  /** Whether a batch of the user is open. */
  readonly isInBatch: boolean
  /**
   * Runs what makes several writes as one step, within the operation or the batch that runs already. What it has written it
   * does not read: it may still see what was there before.
   */
  together(writes: () => void): void
  /**
   * The same for a write of any size: between slices of it the event loop has its turns, and nothing of it is seen before all of it is
   * there. Where the engine cannot do that, it is one step. Not while a batch is open.
   */
  inSlices(work: SlicedWork<void>): Promise<void>
  /** Where another process writes: brings what is known of the store up to date. */
  refresh(): void
  /** Groups what a function of the user writes, as one step. */
  batch<Result>(body: () => Result | PromiseLike<Result>): unknown
  /** Whether all that lies from one stored key up to, and without, another one can be read at once. */
  isAtHand(from: Uint8Array, until: Uint8Array): boolean
  /** The entries of all states, in any order, where the engine has them so sooner than in theirs, and nothing is written above it. */
  unsorted(isWanted: KeyFilter): IterableIterator<Entry | undefined> | undefined
  /**
   * What the ranges hold at one instant, one range behind the other, with what the open batch has written. With `formerIds`,
   * what lies under those ids of the state is merged in, where the present one has nothing under the same key.
   */
  scan(
    ranges: readonly ScanRange[],
    formerIds?: readonly number[],
  ): IterableIterator<ScannedEntry> | AsyncIterableIterator<ScannedEntry>
}

/** What is at hand of an asynchronous engine: all of a range, or not. An engine without this has everything at hand. */
export interface PartlyAtHand {
  isAtHand(from: Uint8Array, until: Uint8Array): boolean
}

/** The same range under another state id. */
export function rangeOfState(range: ScanRange, id: number): ScanRange {
  const moved = (bound: Uint8Array | undefined, step: number) => {
    if (bound === undefined) return undefined
    const copy = new Uint8Array(bound)
    copy[2] = (id + step) >>> 8
    copy[3] = (id + step) & 0xff
    return copy
  }
  const gte = moved(range.gte, 0)
  // The end of a whole state is the beginning of the next id.
  const isWhole = range.lt !== undefined && range.lt.length <= 4
  const lt = moved(range.lt === undefined ? undefined : padded(range.lt), isWhole ? 1 : 0)
  return { ...range, ...(gte === undefined ? {} : { gte }), ...(lt === undefined ? {} : { lt }) }
}

const padded = (bound: Uint8Array): Uint8Array =>
  bound.length >= 4 ? bound : new Uint8Array([...bound, 0, 0, 0, 0].slice(0, 4))

/** Merges streams in key order, compared behind group and state; of equal keys the first stream's is passed on. */
class GenerationMerge {
  readonly #heads: (Entry | undefined)[]
  readonly #sign: number

  constructor(heads: (Entry | undefined)[], reverse: boolean) {
    this.#heads = heads
    this.#sign = reverse ? -1 : 1
  }

  /** Which stream has the next entry, and which ones move on with it; `undefined` at the end. */
  next(): { readonly entry: ScannedEntry; readonly from: readonly number[] } | undefined {
    let best = -1
    let from: number[] = []
    for (const [i, head] of this.#heads.entries()) {
      if (head === undefined) continue
      const order = best < 0 ? -1 : this.#sign * compareTails(head[0], (this.#heads[best] as Entry)[0])
      if (order < 0) {
        best = i
        from = [i]
      } else if (order === 0) {
        from.push(i)
      }
    }
    if (best < 0) return undefined
    const [key, value] = this.#heads[best] as Entry
    return { entry: [key, value, best], from }
  }

  set(stream: number, head: Entry | undefined): void {
    this.#heads[stream] = head
  }
}

const compareTails = (left: Uint8Array, right: Uint8Array): number =>
  Buffer.compare(left.subarray(4), right.subarray(4))

/** The streams of all generations of one range as one. */
export function* mergedAtOnce(streams: Iterator<Entry>[], reverse: boolean): Generator<ScannedEntry> {
  const pull = (stream: Iterator<Entry>) => {
    const step = stream.next()
    return step.done === true ? undefined : step.value
  }
  const merge = new GenerationMerge(streams.map(pull), reverse)
  try {
    for (let found = merge.next(); found !== undefined; found = merge.next()) {
      yield found.entry
      for (const i of found.from) merge.set(i, pull(streams[i] as Iterator<Entry>))
    }
  } finally {
    for (const stream of streams) stream.return?.()
  }
}

/** The same where entries come later. */
export async function* mergedLater(
  streams: AsyncIterator<Entry>[],
  reverse: boolean,
): AsyncGenerator<ScannedEntry> {
  const pull = async (stream: AsyncIterator<Entry>) => {
    const step = await stream.next()
    return step.done === true ? undefined : step.value
  }
  const merge = new GenerationMerge(await Promise.all(streams.map(pull)), reverse)
  try {
    for (let found = merge.next(); found !== undefined; found = merge.next()) {
      yield found.entry
      for (const i of found.from) merge.set(i, await pull(streams[i] as AsyncIterator<Entry>))
    }
  } finally {
    for (const stream of streams) await stream.return?.()
  }
}

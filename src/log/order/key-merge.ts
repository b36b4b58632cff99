// New keys are put among those that are in order. Chunks that get none of them stay as they are, so that a few new keys among very many copy few.

import type { SlicedWork } from '../../base/slices.js'
import type { KeyOrder } from './key-order.js'
import { ChunkWriter } from './sorted-keys.js'

/** New keys merged between two points where the work may pause. */
const MERGE_STEP = 256

const NO_ADDRESSES = new Uint32Array(0)

export interface MergedKeys {
  readonly chunks: readonly Uint32Array[]
  /** By how many addresses they are more. */
  readonly grown: number
}

/**
 * Merges chunks of the keys in order with addresses that are sorted by their keys, of which no two are the same. Of two addresses with one key,
 * the added one stays. Chunks only become more by that: the first of them hold nothing that was not in as many of the old ones, or is added.
 */
export function* mergeKeys(
  order: KeyOrder,
  old: readonly Uint32Array[],
  added: Uint32Array,
): SlicedWork<MergedKeys> {
  const chunks: (Uint32Array | readonly Uint32Array[])[] = old.slice()
  let grown = 0
  let isCut = false
  let number = 0
  for (let from = 0; from < added.length; number++) {
    number = chunkFor(order, old, number, added[from] as number)
    const nextKey = old[number + 1]?.[0]
    const until = nextKey === undefined ? added.length : firstNotBelow(order, added, from, nextKey)
    const chunk = old[number] ?? NO_ADDRESSES
    const merge = new ChunkMerge(order, chunk, until - from)
    for (; from < until; from += MERGE_STEP) {
      merge.add(added, from, Math.min(from + MERGE_STEP, until))
      yield
    }
    from = until
    const merged = merge.finish()
    chunks[number] = merged.length === 1 ? (merged[0] as Uint32Array) : merged
    isCut ||= merged.length > 1
    grown += merged.reduce((sum, { length }) => sum + length, -chunk.length)
  }
  return { chunks: isCut ? chunks.flat() : (chunks as Uint32Array[]), grown }
}

/** A chunk, and what is added to it in the order of keys. */
class ChunkMerge {
  readonly #order: KeyOrder
  readonly #chunk: Uint32Array
  readonly #writer: ChunkWriter
  /** About so many addresses of the chunk lie between two that are added. */
  readonly #gap: number
  #at = 0

  constructor(order: KeyOrder, chunk: Uint32Array, added: number) {
    this.#order = order
    this.#chunk = chunk
    this.#writer = new ChunkWriter(chunk.length + added)
    this.#gap = Math.max(1, Math.ceil(chunk.length / added))
  }

  /** A function: V8 throws compiled generators away. */
  add(added: Uint32Array, from: number, until: number): void {
    const chunk = this.#chunk
    for (let i = from; i < until; i++) {
      const address = added[i] as number
      const place = firstNotBelow(this.#order, chunk, this.#at, address, this.#gap)
      this.#writer.pushAll(chunk, this.#at, place)
      this.#writer.push(address)
      const isSame = place < chunk.length && this.#order.compare(chunk[place] as number, address) === 0
      this.#at = isSame ? place + 1 : place
    }
  }

  finish(): Uint32Array[] {
    this.#writer.pushAll(this.#chunk, this.#at, this.#chunk.length)
    return this.#writer.finish()
  }
}

/** From `start` on, the last chunk that does not begin behind the key of `address`; `start` where all do. */
function chunkFor(order: KeyOrder, chunks: readonly Uint32Array[], start: number, address: number): number {
  let low = start
  let high = chunks.length
  while (low + 1 < high) {
    const middle = (low + high) >>> 1
    if (order.compare(chunks[middle]?.[0] as number, address) <= 0) low = middle
    else high = middle
  }
  return low
}

/**
 * The first place from `start` on whose key is not below that of `address`: steps that double, of which `gap` is the first, then bisection. Without
 * it, bisection of all.
 */
function firstNotBelow(
  order: KeyOrder,
  sorted: Uint32Array,
  start: number,
  address: number,
  gap: number = sorted.length,
): number {
  let step = gap
  let low = start
  let high = start + step - 1
  while (high < sorted.length && order.compare(sorted[high] as number, address) < 0) {
    low = high + 1
    high += step
    step *= 2
  }
  high = Math.min(high, sorted.length)
  while (low < high) {
    const middle = (low + high) >>> 1
    if (order.compare(sorted[middle] as number, address) < 0) low = middle + 1
    else high = middle
  }
  return low
}

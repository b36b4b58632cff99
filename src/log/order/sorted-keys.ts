// The keys in order, as the addresses of their entries, in chunks.
//
// (1) Chunks, and lists of them, are replaced, never changed: whoever reads keeps what it began with.
// (2) A chunk has as much memory as it has addresses, and at most CHUNK_KEYS of them. None is empty.

/**
 * Addresses of a chunk at most. A new key copies one chunk and the list of them: with four million keys about as many bytes of the one as of the
 * other.
 */
const CHUNK_KEYS = 2_048

/** The place before an address, or that behind the last one: the beginning of a chunk that is not there. */
interface Place {
  readonly chunk: number
  readonly offset: number
}

/** Whether the key of an address is below a bound. */
type IsBelow = (address: number) => boolean

const BEGINNING: Place = { chunk: 0, offset: 0 }

/** Addresses in the order of their keys, or a stretch of these. No address is 0. */
export class SortedKeys {
  readonly chunks: readonly Uint32Array[]
  /** Where it begins, and the place behind its end. */
  readonly from: Place
  readonly until: Place

  private constructor(chunks: readonly Uint32Array[], from: Place, until: Place) {
    this.chunks = chunks
    this.from = from
    this.until = until
  }

  static over(chunks: readonly Uint32Array[]): SortedKeys {
    return new SortedKeys(chunks, BEGINNING, { chunk: chunks.length, offset: 0 })
  }

  /** Those of an array that is not changed any more. */
  static of(addresses: Uint32Array): SortedKeys {
    return SortedKeys.over(addresses.length === 0 ? [] : [addresses])
  }

  get isEmpty(): boolean {
    const { from, until } = this
    return from.chunk === until.chunk && from.offset === until.offset
  }

  /** Those from the first that is not below a bound, of all, to the first that is not below another one. */
  stretch(isBelowFrom: IsBelow, isBelowUntil: IsBelow | undefined): SortedKeys {
    const from = firstNotBelow(this.chunks, isBelowFrom)
    const until = isBelowUntil === undefined ? this.until : firstNotBelow(this.chunks, isBelowUntil)
    const isReversed = until.chunk < from.chunk || (until.chunk === from.chunk && until.offset < from.offset)
    return new SortedKeys(this.chunks, from, isReversed ? from : until)
  }

  walk(reverse: boolean = false): KeyWalk {
    return new KeyWalk(this, reverse)
  }
}

/** Goes from address to address, forwards or backwards. */
export class KeyWalk {
  readonly #keys: SortedKeys
  readonly #step: 1 | -1
  #chunkNumber: number
  #chunk: Uint32Array
  /** The next one, and the place behind the last one, in its direction, of this chunk. */
  #at: number
  #end: number

  constructor(keys: SortedKeys, reverse: boolean) {
    const { from, until } = keys
    this.#keys = keys
    this.#step = reverse ? -1 : 1
    this.#chunkNumber = reverse ? until.chunk : from.chunk
    this.#chunk = this.#chunkOf(this.#chunkNumber)
    this.#at = reverse ? until.offset - 1 : from.offset
    this.#end = this.#endOf(this.#chunkNumber)
  }

  /** The next address; 0 at the end. */
  next(): number {
    while (this.#at === this.#end) if (!this.#turn()) return 0
    const address = this.#chunk[this.#at] as number
    this.#at += this.#step
    return address
  }

  /** Puts the next addresses at the beginning of `into`, as many as it has places for; returns how many there were. */
  take(into: Uint32Array, most: number = into.length): number {
    let count = 0
    while (count < most && (this.#at !== this.#end || this.#turn())) {
      const chunk = this.#chunk
      const step = this.#step
      const until = Math.min(most, count + (this.#end - this.#at) * step)
      let at = this.#at
      for (; count < until; count++, at += step) into[count] = chunk[at] as number
      this.#at = at
    }
    return count
  }

  /** Goes on to the next chunk; returns whether there is one. */
  #turn(): boolean {
    const { from, until } = this.#keys
    const last = this.#step > 0 ? until.chunk : from.chunk
    if (this.#chunkNumber === last) return false
    this.#chunkNumber += this.#step
    this.#chunk = this.#chunkOf(this.#chunkNumber)
    this.#at = this.#step > 0 ? 0 : this.#chunk.length - 1
    this.#end = this.#endOf(this.#chunkNumber)
    return true
  }

  #endOf(chunk: number): number {
    const { from, until } = this.#keys
    if (this.#step < 0) return chunk === from.chunk ? from.offset - 1 : -1
    return chunk === until.chunk ? until.offset : this.#chunkOf(chunk).length
  }

  /** The place behind the last chunk is in an empty one. */
  #chunkOf(number: number): Uint32Array {
    return this.#keys.chunks[number] ?? NO_ADDRESSES
  }
}

const NO_ADDRESSES = new Uint32Array(0)

/** Cuts addresses, which come one behind the other, into chunks of about one size. */
export class ChunkWriter {
  readonly #chunks: Uint32Array[] = []
  readonly #chunkLength: number
  #left: number
  #chunk: Uint32Array = NO_ADDRESSES
  #filled = 0

  /** @param most addresses that come; they may turn out to be fewer. */
  constructor(most: number) {
    this.#chunkLength = Math.ceil(most / Math.ceil(most / CHUNK_KEYS))
    this.#left = most
  }

  push(address: number): void {
    if (this.#filled === this.#chunk.length) this.#begin()
    this.#chunk[this.#filled++] = address
  }

  pushAll(addresses: Uint32Array, from: number, until: number): void {
    for (let at = from; at < until; ) {
      if (this.#filled === this.#chunk.length) this.#begin()
      const count = Math.min(until - at, this.#chunk.length - this.#filled)
      this.#chunk.set(addresses.subarray(at, at + count), this.#filled)
      this.#filled += count
      at += count
    }
  }

  finish(): Uint32Array[] {
    const isFull = this.#filled === this.#chunk.length
    if (!isFull) this.#chunks[this.#chunks.length - 1] = this.#chunk.slice(0, this.#filled)
    return this.#chunks
  }

  #begin(): void {
    this.#chunk = new Uint32Array(Math.min(this.#chunkLength, this.#left))
    this.#left -= this.#chunk.length
    this.#filled = 0
    this.#chunks.push(this.#chunk)
  }
}

/** The same chunks, where those that are not more than a chunk together with the one before them are joined with it. */
export function joinSmall(chunks: readonly Uint32Array[]): Uint32Array[] {
  const result: Uint32Array[] = []
  for (const chunk of chunks) {
    const last = result.at(-1)
    if (last !== undefined && last.length + chunk.length <= CHUNK_KEYS) {
      result[result.length - 1] = joined(last, chunk)
    } else {
      result.push(chunk)
    }
  }
  return result
}

function joined(left: Uint32Array, right: Uint32Array): Uint32Array {
  const chunk = new Uint32Array(left.length + right.length)
  chunk.set(left)
  chunk.set(right, left.length)
  return chunk
}

function firstNotBelow(chunks: readonly Uint32Array[], isBelow: IsBelow): Place {
  // In the last chunk whose first key is below the bound, or behind it.
  const number = Math.max(0, countBelow(chunks.length, (at) => isBelow(chunks[at]?.[0] as number)) - 1)
  const chunk = chunks[number] ?? NO_ADDRESSES
  const offset = countBelow(chunk.length, (at) => isBelow(chunk[at] as number))
  return offset < chunk.length
    ? { chunk: number, offset }
    : { chunk: Math.min(number + 1, chunks.length), offset: 0 }
}

/** How many places are below a bound, of which there are `length`: all that are come first. */
function countBelow(length: number, isBelow: (at: number) => boolean): number {
  let low = 0
  let high = length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (isBelow(middle)) low = middle + 1
    else high = middle
  }
  return low
}

/** Items of a chunk, as a shift; the first chunk begins smaller and doubles until it has as many. */
const CHUNK_BITS = 16
const CHUNK_ITEMS: number = 1 << CHUNK_BITS
const CHUNK_MASK: number = CHUNK_ITEMS - 1
const FIRST_ITEMS = 16

/** A list on its way to another thread. */
export interface ListImage {
  readonly chunks: readonly Uint32Array[]
  readonly length: number
}

/**
 * A growing list of 32-bit numbers outside the JavaScript heap. It grows by chunks: no push copies more than one chunk,
 * however long the list is, and what is popped is given back.
 */
export class Uint32List {
  #chunks: Uint32Array[]
  #last: Uint32Array
  #length = 0
  #capacity: number

  /** @param capacity items that it has room for at first; at most one chunk. */
  constructor(capacity: number = FIRST_ITEMS) {
    this.#last = new Uint32Array(Math.min(capacity, CHUNK_ITEMS))
    this.#chunks = [this.#last]
    this.#capacity = this.#last.length
  }

  /** The list that another one, which is not used any more, was taken for. */
  static adopt({ chunks, length }: ListImage): Uint32List {
    const list = new Uint32List(0)
    const last = chunks.at(-1)
    if (last === undefined) return list
    list.#chunks = [...chunks]
    list.#last = last
    list.#length = length
    list.#capacity = (chunks.length - 1) * CHUNK_ITEMS + last.length
    return list
  }

  /** The list as another thread can be given it, with the memory of its chunks; it must not be used any more. */
  image(): ListImage {
    return { chunks: this.#chunks, length: this.#length }
  }

  get length(): number {
    return this.#length
  }

  get byteLength(): number {
    return this.#capacity * Uint32Array.BYTES_PER_ELEMENT
  }

  push(item: number): void {
    if (this.#length === this.#capacity) this.#grow()
    this.#last[this.#length++ & CHUNK_MASK] = item
  }

  /** Pushes the first `count` items of an array. */
  pushAll(items: Uint32Array, count: number): void {
    for (let i = 0; i < count; i++) this.push(items[i] as number)
  }

  at(index: number): number {
    return (this.#chunks[index >>> CHUNK_BITS] as Uint32Array)[index & CHUNK_MASK] as number
  }

  set(index: number, item: number): void {
    const chunk = this.#chunks[index >>> CHUNK_BITS] as Uint32Array
    chunk[index & CHUNK_MASK] = item
  }

  /** Removes and returns the last item; the list must not be empty. */
  pop(): number {
    const place = --this.#length & CHUNK_MASK
    const item = this.#last[place] as number
    if (place === 0 && this.#chunks.length > 1) {
      this.#chunks.pop()
      this.#last = this.#chunks.at(-1) as Uint32Array
      this.#capacity -= CHUNK_ITEMS
    }
    return item
  }

  /** Removes all. */
  clear(): void {
    this.#last = new Uint32Array(Math.min(this.#last.length, FIRST_ITEMS))
    this.#chunks = [this.#last]
    this.#length = 0
    this.#capacity = this.#last.length
  }

  /** The items as an array of their own. */
  toArray(): Uint32Array {
    const items = new Uint32Array(this.#length)
    for (const [number, chunk] of this.#chunks.entries()) {
      const start = number * CHUNK_ITEMS
      items.set(chunk.subarray(0, Math.min(CHUNK_ITEMS, this.#length - start)), start)
    }
    return items
  }

  #grow(): void {
    const isFirst = this.#capacity < CHUNK_ITEMS
    const items = isFirst ? Math.min(CHUNK_ITEMS, Math.max(1, this.#capacity * 2)) : CHUNK_ITEMS
    const chunk = new Uint32Array(items)
    if (isFirst) {
      chunk.set(this.#last)
      this.#chunks.pop()
      this.#capacity = items
    } else {
      this.#capacity += items
    }
    this.#chunks.push(chunk)
    this.#last = chunk
  }
}

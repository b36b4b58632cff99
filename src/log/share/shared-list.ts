/** A stretch of 32-bit numbers as another thread is told of it. */
export interface SharedPart {
  readonly buffer: SharedArrayBuffer
  /** How many of the numbers in the buffer belong to it. */
  readonly count: number
}

const FIRST_ITEMS = 16
const NONE = new Uint32Array(0)

/**
 * A growing list of 32-bit numbers that other threads can be given as it stands, in time that does not grow with its
 * length: it is made of parts in shared memory, each half as large as all before it, and a part is never copied or reused.
 */
export class SharedUint32List {
  /** Parts that are filled as far as they ever will be. */
  readonly #sealed: SharedPart[] = []
  #sealedItems = 0
  #last: Uint32Array = NONE
  #used = 0
  #bytes = 0

  /** @param items what it begins with, copied. */
  constructor(items: Uint32Array = NONE) {
    if (items.length === 0) return
    this.#last = new Uint32Array(new SharedArrayBuffer(items.byteLength))
    this.#last.set(items)
    this.#used = items.length
    this.#bytes = items.byteLength
  }

  get length(): number {
    return this.#sealedItems + this.#used
  }

  get byteLength(): number {
    return this.#bytes
  }

  /** The next push takes `growthBytes` more. */
  get isFull(): boolean {
    return this.#used === this.#last.length
  }

  get growthBytes(): number {
    return Math.max(FIRST_ITEMS, this.length >>> 1) * Uint32Array.BYTES_PER_ELEMENT
  }

  push(item: number): void {
    if (this.#used === this.#last.length) this.#grow()
    this.#last[this.#used++] = item
  }

  /** Takes the items of `other` over, behind its own; `other` is not to be used any more. */
  absorb(other: SharedUint32List): void {
    this.#seal()
    for (const part of other.#sealed) this.#sealed.push(part)
    this.#sealedItems += other.#sealedItems
    this.#last = other.#last
    this.#used = other.#used
    this.#bytes += other.#bytes
  }

  /** The list as it is now. What is pushed later is not in it. */
  parts(): SharedPart[] {
    const parts: SharedPart[] = []
    this.addParts(parts)
    return parts
  }

  /** Pushes what `parts` gives. */
  addParts(parts: SharedPart[]): void {
    for (const part of this.#sealed) parts.push(part)
    if (this.#used > 0) parts.push({ buffer: this.#last.buffer as SharedArrayBuffer, count: this.#used })
  }

  #grow(): void {
    const bytes = this.growthBytes
    this.#seal()
    this.#last = new Uint32Array(new SharedArrayBuffer(bytes))
    this.#used = 0
    this.#bytes += bytes
  }

  #seal(): void {
    if (this.#used > 0)
      this.#sealed.push({ buffer: this.#last.buffer as SharedArrayBuffer, count: this.#used })
    this.#sealedItems += this.#used
    this.#last = NONE
    this.#used = 0
  }
}

/** All numbers of some parts. */
export function joinParts(parts: readonly SharedPart[]): Uint32Array {
  const joined = new Uint32Array(parts.reduce((sum, { count }) => sum + count, 0))
  let length = 0
  for (const { buffer, count } of parts) {
    joined.set(new Uint32Array(buffer, 0, count), length)
    length += count
  }
  return joined
}

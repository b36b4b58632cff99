/** A growing list of 32-bit numbers outside the JavaScript heap. */
export class Uint32List {
  #items: Uint32Array
  #length = 0

  constructor(capacity = 16) {
    this.#items = new Uint32Array(capacity)
  }

  get length(): number {
    return this.#length
  }

  get byteLength(): number {
    return this.#items.byteLength
  }

  push(item: number): void {
    if (this.#length === this.#items.length) {
      const items = new Uint32Array(this.#length * 2)
      items.set(this.#items)
      this.#items = items
    }
    this.#items[this.#length++] = item
  }

  at(index: number): number {
    return this.#items[index] as number
  }

  /** Removes and returns the last item; the list must not be empty. */
  pop(): number {
    return this.#items[--this.#length] as number
  }

  /** The items as a view, valid until the next push. */
  view(): Uint32Array {
    return this.#items.subarray(0, this.#length)
  }

  /** The items as an array of their own. */
  toArray(): Uint32Array {
    return this.#items.slice(0, this.#length)
  }
}

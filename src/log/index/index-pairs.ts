const FIRST_PAIRS = 1_024

/**
 * A table is filled stretch by stretch, each of which stays in the nearest cache: 32 of them, or fewer where that would be more than 1,024 in all
 * tables, since pairs that are sorted into more are written to too many places at once.
 */
const MOST_STRETCH_BITS = 5
const MOST_PLACE_BITS = 10

const NO_NUMBERS = new Int32Array(0)

/**
 * Hashes, and the addresses that belong to them, on their way into an index. Signed, since most unsigned ones would be doubles to JavaScript.
 * Its memory, also that in which they are sorted, is used again for what comes after `clear`.
 */
export class IndexPairs {
  #hashes: Int32Array = NO_NUMBERS
  #addresses: Int32Array = NO_NUMBERS
  #length = 0
  /** Filled by `sortByPlace`. */
  sortedHashes: Int32Array = NO_NUMBERS
  sortedAddresses: Int32Array = NO_NUMBERS

  get length(): number {
    return this.#length
  }

  get byteLength(): number {
    return 2 * (this.#hashes.byteLength + this.sortedHashes.byteLength)
  }

  push(hash: number, address: number): void {
    const at = this.#length
    if (at === this.#hashes.length) this.#grow()
    this.#hashes[at] = hash
    this.#addresses[at] = address
    this.#length = at + 1
  }

  clear(): void {
    this.#length = 0
  }

  /** Sorts by the bits of the hashes that the mask has, and then by their highest ones, which say where in a table they belong. */
  sortByPlace(mask: number): void {
    const hashes = this.#hashes
    const addresses = this.#addresses
    const length = this.#length
    if (this.sortedHashes.length < length) {
      this.sortedHashes = new Int32Array(hashes.length)
      this.sortedAddresses = new Int32Array(hashes.length)
    }
    const { sortedHashes, sortedAddresses } = this
    const tableBits = 32 - Math.clz32(mask)
    const bits = Math.max(0, Math.min(MOST_STRETCH_BITS, MOST_PLACE_BITS - tableBits))
    const shift = 16 - bits
    // A counting sort: where those of each place end, then from the back.
    const ends = new Int32Array((mask + 1) << bits)
    for (let i = 0; i < length; i++) {
      const hash = hashes[i] as number
      ;(ends[((hash & mask) << bits) | ((hash >>> 16) >>> shift)] as number)++
    }
    for (let place = 1; place < ends.length; place++) {
      ends[place] = (ends[place] as number) + (ends[place - 1] as number)
    }
    for (let i = length - 1; i >= 0; i--) {
      const hash = hashes[i] as number
      const place = ((hash & mask) << bits) | ((hash >>> 16) >>> shift)
      const at = (ends[place] as number) - 1
      ends[place] = at
      sortedHashes[at] = hash
      sortedAddresses[at] = addresses[i] as number
    }
  }

  #grow(): void {
    const room = Math.max(FIRST_PAIRS, 2 * this.#length)
    const [hashes, addresses] = [new Int32Array(room), new Int32Array(room)]
    hashes.set(this.#hashes)
    addresses.set(this.#addresses)
    this.#hashes = hashes
    this.#addresses = addresses
  }
}

import { Uint32List } from '../uint32-list.js'

const FIRST_ITEMS = 16
/** From this many on, places in front that were taken are given back once they are half of all. */
const MIN_TAKEN = 1_024

/** Tombstones in the order of their epochs, as key hashes: a tombstone may have moved or gone in the meantime. */
export class TombstoneQueue {
  #epochs = new Uint32List(FIRST_ITEMS)
  #hashes = new Uint32List(FIRST_ITEMS)
  #head = 0

  get byteLength(): number {
    return this.#epochs.byteLength + this.#hashes.byteLength
  }

  push(epoch: number, hash: number): void {
    this.#epochs.push(epoch)
    this.#hashes.push(hash)
  }

  /** Whether the first one is invisible to whoever looks at epochs from `oldest` on. */
  removable(oldest: number): boolean {
    return this.#head < this.#epochs.length && this.#epochs.at(this.#head) <= oldest
  }

  /** Takes the hash of the first one; the queue must not be empty. */
  take(): number {
    const hash = this.#hashes.at(this.#head++)
    const { length } = this.#hashes
    if (this.#head === length || (this.#head >= MIN_TAKEN && this.#head * 2 >= length)) {
      this.#epochs = remainder(this.#epochs, this.#head)
      this.#hashes = remainder(this.#hashes, this.#head)
      this.#head = 0
    }
    return hash
  }
}

function remainder(list: Uint32List, from: number): Uint32List {
  const rest = new Uint32List(Math.max(FIRST_ITEMS, list.length - from))
  for (let i = from; i < list.length; i++) rest.push(list.at(i))
  return rest
}

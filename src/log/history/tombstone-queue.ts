import { Uint32List } from '../uint32-list.js'

const FIRST_ITEMS = 16
/** From this many on, places in front that were taken are given back once they are half of all. */
const MIN_TAKEN = 1_024

/**
 * Tombstones that somebody needs who asks for changes, as key hashes: a tombstone may have moved or gone in the meantime. They
 * are in the order of their epochs, but for those that had to wait for a snapshot first: these count as no older than the
 * last one.
 */
export class TombstoneQueue {
  #epochs = new Uint32List(FIRST_ITEMS)
  #hashes = new Uint32List(FIRST_ITEMS)
  #head = 0

  get byteLength(): number {
    return this.#epochs.byteLength + this.#hashes.byteLength
  }

  push(epoch: number, hash: number): void {
    const { length } = this.#epochs
    const last = length > 0 ? this.#epochs.at(length - 1) : 0
    this.#epochs.push(Math.max(epoch, last))
    this.#hashes.push(hash)
  }

  /** Whether the first one tells nothing to whoever asks for changes since `oldest` or later. */
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

/** Tombstones in the order of their epochs, as key hashes: a tombstone may have moved or gone in the meantime. */
export class TombstoneQueue {
  #epochs: number[] = []
  #hashes: number[] = []
  #head = 0

  push(epoch: number, hash: number): void {
    this.#epochs.push(epoch)
    this.#hashes.push(hash)
  }

  /** Whether the first one is invisible to every snapshot from `oldestSnapshot` on. */
  removable(oldestSnapshot: number): boolean {
    const epoch = this.#epochs[this.#head]
    return epoch !== undefined && epoch <= oldestSnapshot
  }

  /** Takes the hash of the first one; the queue must not be empty. */
  take(): number {
    const hash = this.#hashes[this.#head++] as number
    if (this.#head === this.#hashes.length) {
      this.#epochs = []
      this.#hashes = []
      this.#head = 0
    }
    return hash
  }
}

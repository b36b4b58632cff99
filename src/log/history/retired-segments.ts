/** Segments without living entries that open snapshots may still read. */
export class RetiredSegments {
  #segments: { readonly number: number; readonly epoch: number }[] = []

  /** `epoch`: when the last of its entries died. */
  add(number: number, epoch: number): void {
    this.#segments.push({ number, epoch })
  }

  /** Takes out those that no snapshot from `oldestSnapshot` on can see. */
  take(oldestSnapshot: number): number[] {
    const released = this.#segments.filter(({ epoch }) => epoch <= oldestSnapshot)
    if (released.length > 0) this.#segments = this.#segments.filter(({ epoch }) => epoch > oldestSnapshot)
    return released.map(({ number }) => number)
  }
}

// Values that were read or written lately, for an owner that nobody else writes beside.
//
// (1) What a write changes is changed here when the server has acknowledged it, in the order of the acknowledgements.
// (2) What was read while a write was under way is not taken in: it may be from before it.

interface CachedValue {
  /** As it is stored; `undefined`: there is nothing. */
  readonly stored: Uint8Array | undefined
  readonly bytes: number
}

/** Bytes that an entry takes beside its key and value, about. */
const ENTRY_BYTES = 120

const nameOf = (key: Uint8Array): string =>
  Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')

export class NearCache {
  readonly #maxBytes: number
  readonly #values = new Map<string, CachedValue>()
  #bytes = 0
  #writesUnderWay = 0
  #writes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  /** What is known of a key; `undefined`: nothing. */
  get(key: Uint8Array): { readonly stored: Uint8Array | undefined } | undefined {
    const name = nameOf(key)
    const found = this.#values.get(name)
    if (found === undefined) return undefined
    this.#values.delete(name)
    this.#values.set(name, found)
    return found
  }

  /** A mark for `fill`. */
  get readMark(): number {
    return this.#writesUnderWay > 0 ? -1 : this.#writes
  }

  /** Takes in what was read since the mark. */
  fill(mark: number, key: Uint8Array, stored: Uint8Array | undefined): void {
    if (mark === this.readMark && mark >= 0) this.set(key, stored)
  }

  writeBegins(): void {
    this.#writes++
    this.#writesUnderWay++
  }

  writeEnds(): void {
    this.#writesUnderWay--
  }

  set(key: Uint8Array, stored: Uint8Array | undefined): void {
    const name = nameOf(key)
    this.#remove(name)
    const bytes = key.length + (stored?.length ?? 0) + ENTRY_BYTES
    if (bytes > this.#maxBytes) return
    // A copy: what a client gives may be a stretch of a large buffer, which it would keep.
    this.#values.set(name, { stored: stored && Buffer.from(new Uint8Array(stored).buffer), bytes })
    this.#bytes += bytes
    for (const oldest of this.#values.keys()) {
      if (this.#bytes <= this.#maxBytes) return
      this.#remove(oldest)
    }
  }

  clear(): void {
    this.#values.clear()
    this.#bytes = 0
  }

  #remove(name: string): void {
    this.#bytes -= this.#values.get(name)?.bytes ?? 0
    this.#values.delete(name)
  }
}

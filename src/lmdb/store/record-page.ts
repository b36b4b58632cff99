// A page of the store as it was read: keys and records behind each other, in memory that the next page uses again. So an entry costs a
// copy of its bytes, and no objects.

import { compareStretches } from '../../base/bytes.js'
import { copyViewed, type ViewedBytes } from '../../base/slot.js'
import { ValuePool } from '../../log/value-pool.js'

/** A page takes no more entries when it has so many bytes: large records do not come by the thousand. */
const FULL_BYTES = 1024 * 1024
const FIRST_BYTES = 16 * 1024
const FIRST_EDGES = 64

export class RecordPage implements ViewedBytes {
  /** How many keys there are, each with its record behind it. */
  count = 0
  readonly #copies = new ValuePool()
  #memory: ViewedBytes = memoryOf(FIRST_BYTES)
  #end = 0
  /** Of each entry where its key begins, and where its record does; last, where the last record ends. */
  #edges = new Int32Array(FIRST_EDGES)

  get bytes(): Uint8Array {
    return this.#memory.bytes
  }

  /** The same memory as `bytes`. */
  get view(): DataView {
    return this.#memory.view
  }

  get isFull(): boolean {
    return this.#end >= FULL_BYTES
  }

  clear(): void {
    this.count = 0
    this.#end = 0
  }

  keyStart(entry: number): number {
    return this.#edges[2 * entry] as number
  }

  recordStart(entry: number): number {
    return this.#edges[2 * entry + 1] as number
  }

  recordEnd(entry: number): number {
    return this.#edges[2 * entry + 2] as number
  }

  /** A copy of bytes of its memory, for the caller to keep. */
  copy(start: number, length: number): Uint8Array {
    return this.#copies.copyViewed(this.#memory, start, length)
  }

  /** A copy of the key. */
  copyKey(entry: number): Uint8Array {
    return this.bytes.slice(this.keyStart(entry), this.recordStart(entry))
  }

  /** Compares the key of an entry with a key. */
  compareKey(entry: number, key: Uint8Array): number {
    const start = this.keyStart(entry)
    return compareStretches(this.bytes, start, this.recordStart(entry) - start, key, 0, key.length)
  }

  /** Begins an entry; its record is to be added next. */
  addKey(from: ViewedBytes, start: number, length: number): void {
    this.#take(from, start, length, 2 * this.count)
  }

  addRecord(from: ViewedBytes, start: number, length: number): void {
    this.#take(from, start, length, 2 * this.count + 1)
    this.count++
  }

  /** Copies bytes behind what is there; `edge`: the number of where they begin. */
  #take(from: ViewedBytes, start: number, length: number, edge: number): void {
    const at = this.#end
    if (at + length > this.bytes.length) this.#grow(at + length)
    if (edge + 1 >= this.#edges.length) this.#edges = longer(this.#edges)
    copyViewed(from, start, length, this.#memory, at)
    this.#end = at + length
    this.#edges[edge] = at
    this.#edges[edge + 1] = this.#end
  }

  #grow(neededBytes: number): void {
    const { bytes } = this.#memory
    this.#memory = memoryOf(Math.max(neededBytes, bytes.length * 2))
    this.#memory.bytes.set(bytes.subarray(0, this.#end))
  }
}

/** A page with more memory than this is not kept: few scans need it. */
const LARGEST_SPARE_BYTES = 256 * 1024

/** Keeps the page of a scan that is over for the next one: to make a page takes longer than to read a few entries into it. */
export class SparePages {
  #spare: RecordPage | undefined

  /** A page without entries. */
  take(): RecordPage {
    const page = this.#spare ?? new RecordPage()
    this.#spare = undefined
    return page
  }

  /** Nobody uses the page any more. */
  giveBack(page: RecordPage): void {
    page.clear()
    if (page.bytes.length <= LARGEST_SPARE_BYTES) this.#spare = page
  }
}

function memoryOf(byteLength: number): ViewedBytes {
  const bytes = new Uint8Array(byteLength)
  return { bytes, view: new DataView(bytes.buffer) }
}

function longer(edges: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const more = new Int32Array(edges.length * 2)
  more.set(edges)
  return more
}

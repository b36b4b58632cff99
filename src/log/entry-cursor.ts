import type { Entries } from './entries.js'

const NO_BYTES = new Uint8Array(0)
const NO_VIEW = new DataView(NO_BYTES.buffer)

/** Where an entry of a log lies: one at a time, without an object for each. A `PlacedEntry` to whoever packs blocks. */
export class EntryCursor {
  bytes: Uint8Array = NO_BYTES
  view: DataView = NO_VIEW
  keyStart = 0
  keyLength = 0
  valueStart = 0
  valueLength = 0
  expiresAtMs: number = Infinity
  tombstone = false
  readonly #entries: Entries

  constructor(entries: Entries) {
    this.#entries = entries
  }

  goTo(address: number): this {
    const entries = this.#entries
    this.bytes = entries.segmentBytes(address)
    this.view = entries.segmentView(address)
    this.keyStart = entries.keyStart(address)
    this.keyLength = entries.keyLength(address)
    this.valueStart = entries.valueStart(address)
    this.valueLength = entries.valueLength(address)
    this.expiresAtMs = entries.expiresAtMs(address)
    this.tombstone = entries.isTombstone(address)
    return this
  }
}

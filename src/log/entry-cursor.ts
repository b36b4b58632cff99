import type { Entries } from './entries.js'
import {
  EXPIRY_UNIT,
  FLAG_EXPIRES,
  FLAG_TOMBSTONE,
  headerWords,
  KEY_LENGTH_MASK,
  OFFSET_MASK,
  UNIT_WORDS_SHIFT,
  WORD_VALUE_LENGTH,
  wordsBeforeValue,
} from './layout.js'

const NO_BYTES = new Uint8Array(0)
const NO_VIEW = new DataView(NO_BYTES.buffer)
const NO_WORDS = new Int32Array(0)

/** Where an entry of a log lies: one at a time, without an object for each. An `AlignedEntry` to whoever packs blocks. */
export class EntryCursor {
  bytes: Uint8Array = NO_BYTES
  view: DataView = NO_VIEW
  words: Int32Array = NO_WORDS
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
    const words = entries.segmentWords(address)
    this.words = words
    const unit = address & OFFSET_MASK
    const start = unit << UNIT_WORDS_SHIFT
    const meta = words[start] as number
    this.keyStart = (start + headerWords(meta)) << 2
    this.keyLength = meta & KEY_LENGTH_MASK
    this.valueStart = (start + wordsBeforeValue(meta)) << 2
    this.valueLength = words[start + WORD_VALUE_LENGTH] as number
    this.expiresAtMs =
      (meta & FLAG_EXPIRES) === 0 ? Infinity : this.view.getFloat64((unit + EXPIRY_UNIT) << 3, true)
    this.tombstone = (meta & FLAG_TOMBSTONE) !== 0
    return this
  }
}

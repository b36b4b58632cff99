import type { Entry, PutOptions, ScanRange } from '../../backend/types.js'
import type { Slot, Stretch } from '../../base/slot.js'
import type { ByteWriter } from '../codec/bytes.js'

/** A stored key that was assembled: `StoredKey`, seen without its type. */
export interface AssembledKey {
  /** The key as a stretch of a larger buffer. */
  readonly stretch: Stretch
  /** Where an engine was told of it in advance; negative where it was not. */
  readonly told: number
  /** The key as a view, valid until the next one is assembled. */
  view(): Uint8Array
  /** The key as a copy. */
  copy(): Uint8Array
  /** Makes it the key of another state id: values that an earlier version has written lie under ids of their own. */
  setState(id: number): void
}

/** What reads look at: an engine, what was fetched of one, or the writes of a batch above either. */
export interface Underlying {
  /** Shows the value where it lies, until the next call; false where there is none. */
  peek(key: AssembledKey, slot: Slot): boolean
  /** Every entry from one stored key up to, and without, another one. */
  list(from: Uint8Array, until: Uint8Array): Iterable<Entry>
}

/**
 * What the kinds of state are written against: entries by stored key, at once. Behind it is a local engine, or the writes of a
 * batch above one, or what was fetched of a remote one. Where an entry must be fetched first, `peek` and `list` throw a
 * `Suspension`; when it is there the whole operation is run again, and what it had written is forgotten.
 */
export interface Entries extends Underlying {
  /** @param shown the slot in which `peek` of this key was the last to show something, if the caller knows of one. */
  put(key: AssembledKey, value: ByteWriter, options: PutOptions, shown?: Slot): void
  remove(key: AssembledKey): void
  /** Removes every entry from one stored key up to, and without, another one, in one step. */
  removeRange(from: Uint8Array, until: Uint8Array): void
}

/** Entries that can be scanned at once. */
export interface ScannableEntries extends Entries {
  scan(range: ScanRange): IterableIterator<Entry>
}

/** Thrown through an operation that needs what is not there yet. */
export class Suspension {
  readonly until: Promise<unknown>

  constructor(until: Promise<unknown>) {
    this.until = until
  }
}

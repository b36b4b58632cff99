// Packs what has changed, in the order of keys: the write buffer's generations, newest first, and below them the keys that were
// committed, whose records are in the store. Entries go into a block from where they lie: nothing is made for one of them.

import type { EntryBlockBuilder } from '../../backend/entry-block.js'
import { assert } from '../../base/assert.js'
import { compareStretches } from '../../base/bytes.js'
import { Slot } from '../../base/slot.js'
import type { Entries } from '../../log/entries.js'
import { EntryCursor } from '../../log/entry-cursor.js'
import type { SortedRun } from '../store/cursors.js'
import { RecordFacts, type StoreView } from '../store/store-view.js'

/** Entries that are brought near before they are looked at. */
const TOUCHED_ENTRIES = 32

const NONE = new Uint32Array(0)

export interface Changes {
  /** Of the write buffer, newest first. */
  readonly runs: readonly SortedRun[]
  /** Keys whose records in the store are wanted, where the write buffer does not have them. */
  readonly changed: SortedRun
  /** `undefined`: there is nothing in the store. */
  readonly view: StoreView | undefined
  readonly takenAtMs: number
}

export class ChangePacker {
  /** By how much the write buffer's versions that were packed change the number of entries in the store. */
  added = 0
  readonly #runs: readonly PlacedRun[]
  readonly #changed: PlacedRun
  readonly #view: StoreView | undefined
  readonly #takenAtMs: number
  readonly #now: () => number
  readonly #value = new Slot()
  readonly #facts = new RecordFacts()

  constructor({ runs, changed, view, takenAtMs }: Changes) {
    this.#changed = new PlacedRun(changed)
    this.#runs = [...runs.map((run) => new PlacedRun(run)), this.#changed]
    this.#view = view
    this.#takenAtMs = takenAtMs
    this.#now = () => takenAtMs
  }

  /** Packs what comes next until the block is full or `most` entries were packed; false: none is left. */
  pack(builder: EntryBlockBuilder, most: number): boolean {
    for (let packed = 0; packed < most && !builder.full; packed++) {
      const run = this.#next()
      if (run === undefined) return false
      if (run === this.#changed) this.#packStored(run.entry, builder)
      else this.#packBuffered(run.entry, builder)
    }
    return true
  }

  /** Goes to the next key: the run that has its newest version; `undefined`: there is none. */
  #next(): PlacedRun | undefined {
    const runs = this.#runs
    let first: PlacedRun | undefined
    for (const run of runs) {
      if (run.isAtKey) run.advance()
      if (run.isEnded) continue
      const order = first === undefined ? -1 : compareKeys(run.entry, first.entry)
      if (order > 0) continue
      if (order < 0) {
        // What was taken for the first key so far is not.
        for (const other of runs) {
          if (other === run) break
          other.isAtKey = false
        }
        first = run
      }
      run.isAtKey = true
    }
    return first
  }

  #packBuffered(entry: EntryCursor, builder: EntryBlockBuilder): void {
    const { bytes, keyStart, keyLength } = entry
    const isInStore = (this.#view?.expiryOf(bytes, keyStart, keyLength) ?? -Infinity) > this.#takenAtMs
    if (isInStore) this.added--
    if (entry.tombstone || entry.expiresAtMs <= this.#takenAtMs) return packTombstone(entry, builder)
    this.added++
    builder.addAligned(entry)
  }

  #packStored(key: EntryCursor, builder: EntryBlockBuilder): void {
    const value = this.#value
    const isThere = this.#view?.showPlaced(key, this.#now, value, this.#facts) ?? false
    if (!isThere) return packTombstone(key, builder)
    builder.addApart(key, value, this.#facts.expiresAtMs)
  }
}

/** Entries of a log that nobody writes to any more, in the order of their keys, one at a time. */
class PlacedRun {
  readonly entry: EntryCursor
  isEnded = false
  /** It is at the key that was gone to last, and goes on before the next one is looked for. */
  isAtKey = false
  readonly #entries: Entries
  readonly #addresses: Uint32Array
  #at = 0

  constructor({ entries, keys }: SortedRun) {
    assert(keys.chunks.length <= 1, 'the keys of such a log are sorted at once')
    this.#entries = entries
    this.#addresses = keys.chunks[0] ?? NONE
    this.entry = new EntryCursor(entries)
    this.advance()
  }

  advance(): void {
    this.isAtKey = false
    const at = this.#at++
    const addresses = this.#addresses
    if (at >= addresses.length) {
      this.isEnded = true
      return
    }
    if (at % TOUCHED_ENTRIES === 0) this.#entries.touch(addresses, at, at + TOUCHED_ENTRIES)
    this.entry.goTo(addresses[at] as number)
  }
}

function compareKeys(left: EntryCursor, right: EntryCursor): number {
  return compareStretches(
    left.bytes,
    left.keyStart,
    left.keyLength,
    right.bytes,
    right.keyStart,
    right.keyLength,
  )
}

function packTombstone({ bytes, keyStart, keyLength }: EntryCursor, builder: EntryBlockBuilder): void {
  builder.addTombstone(bytes.subarray(keyStart, keyStart + keyLength))
}

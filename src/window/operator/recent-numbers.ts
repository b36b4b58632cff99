// Where the entries of keys lie that are whole numbers: found again without writing and hashing the key. A key takes the place of another one
// alike in its last bits. Where a payload begins is kept as well: a processor that has to ask the entry for it waits for memory twice.
//
//   place := key · pane · entry · payload      in words of 32 bits

import type { TablePlace } from './key-table.js'

const PLACES = 2_048
const MASK = PLACES - 1
/** Spreads the panes, where events of several come by turns. */
const PANE_STEP = 509

export class RecentNumbers {
  /** No pane has the number 0. */
  readonly #places = new Int32Array(PLACES * 4)

  /** So many keys have room; where there are far more, looking here is in vain. */
  static readonly keys: number = PLACES

  /** Fills in the entry of a key in a pane, and where its payload begins; false where they are not known. */
  find(key: number, pane: number, place: TablePlace): boolean {
    const places = this.#places
    const at = placeOf(key, pane)
    if (places[at] !== key || places[at + 1] !== pane) return false
    place.entry = places[at + 2] as number
    place.payloadAt = places[at + 3] as number
    return true
  }

  set(key: number, pane: number, { entry, payloadAt }: TablePlace): void {
    const places = this.#places
    const at = placeOf(key, pane)
    places[at] = key
    places[at + 1] = pane
    places[at + 2] = entry
    places[at + 3] = payloadAt
  }
}

const placeOf = (key: number, pane: number): number => ((key + Math.imul(pane, PANE_STEP)) & MASK) * 4

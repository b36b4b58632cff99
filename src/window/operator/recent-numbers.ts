// Where the entries of keys lie that are whole numbers: found again without writing and hashing the key. A key takes the place of another one
// that is alike in its last bits.
//
//   place := key · pane · entry · 0      in words of 32 bits

const PLACES = 2_048
const MASK = PLACES - 1
/** Spreads the panes, where events of several come by turns. */
const PANE_STEP = 509

export class RecentNumbers {
  /** No pane has the number 0. */
  readonly #places = new Int32Array(PLACES * 4)

  /** So many keys have room; where there are far more, looking here is in vain. */
  static readonly keys: number = PLACES

  /** The entry of a key in a pane, or 0. */
  entryOf(key: number, pane: number): number {
    const places = this.#places
    const at = ((key + Math.imul(pane, PANE_STEP)) & MASK) * 4
    return places[at] === key && places[at + 1] === pane ? (places[at + 2] as number) : 0
  }

  set(key: number, pane: number, entry: number): void {
    const places = this.#places
    const at = ((key + Math.imul(pane, PANE_STEP)) & MASK) * 4
    places[at] = key
    places[at + 1] = pane
    places[at + 2] = entry
  }
}

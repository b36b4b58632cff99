// Which segments somebody may still read although nothing in them lives any more.
//
// A *pin* is a moment: whoever holds it may read any segment that was there then, for as long as it is held. Moments are counted, not
// timed. An open snapshot holds the moment of its opening; a scan, the moment at which it was given the keys in order.
//
// (1) A segment is there from the moment when it was made until the one when its last entry died. So a pin keeps it only if it
//     was taken in between: what comes and goes while a snapshot is open is given back at once.
// (2) An entry that is moved may be read by whoever could read it before: the segment that it moves to counts as made no later.

/** A segment in which nothing lives. */
interface DeadSegment {
  readonly number: number
  readonly madeAt: number
  readonly diedAt: number
}

export class SegmentPins {
  /** The moment that it is: that of the newest pin so far. */
  #moment = 0
  /** Ascending. */
  readonly #held: number[] = []
  #waiting: DeadSegment[] = []

  get moment(): number {
    return this.#moment
  }

  /** Takes a pin on what is there now. */
  add(): number {
    this.#held.push(++this.#moment)
    return this.#moment
  }

  /** Gives a pin back; returns the segments that nobody may read any more. */
  remove(pin: number): number[] {
    const place = this.#held.indexOf(pin)
    if (place < 0) return []
    this.#held.splice(place, 1)
    const isKept = ({ madeAt, diedAt }: DeadSegment) => this.#isHeld(madeAt, diedAt)
    const freed = this.#waiting.filter((segment) => !isKept(segment))
    if (freed.length > 0) this.#waiting = this.#waiting.filter(isKept)
    return freed.map(({ number }) => number)
  }

  /** How many pins are held. */
  get count(): number {
    return this.#held.length
  }

  /** Whether a segment would have to wait if it died now. */
  keeps(madeAt: number): boolean {
    return (this.#held.at(-1) ?? 0) > madeAt
  }

  /** How many of the pins that are held would not keep a segment that died now. */
  countUpTo(madeAt: number): number {
    let count = this.#held.length
    while (count > 0 && (this.#held[count - 1] as number) > madeAt) count--
    return count
  }

  /** Nothing in the segment lives any more. Returns whether it has to wait: `remove` names it then, sooner or later. */
  died(number: number, madeAt: number): boolean {
    if (!this.keeps(madeAt)) return false
    this.#waiting.push({ number, madeAt, diedAt: this.#moment })
    return true
  }

  #isHeld(madeAt: number, diedAt: number): boolean {
    return this.#held.some((pin) => madeAt < pin && pin <= diedAt)
  }
}

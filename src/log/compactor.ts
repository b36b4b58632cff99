// Compaction: the living entries of a mostly dead segment are appended to the log again, and the segment is given back.
//
// (1) Work is done in steps of bounded size, paid for by what is appended and removed: a log never needs a pause for it.
// (2) A moved entry keeps its epoch, so to snapshots it is the same version.
// (3) The tail is never compacted; a large entry's own segment is only released, never copied.
// (4) While somebody may still read a segment, to compact it frees nothing, and takes room for what is moved. So segments that
//     can be given back at once come first, and the others only when most of everything is dead.

import {
  entryUnits,
  FLAG_EXPIRES,
  KEY_LENGTH_MASK,
  OFFSET_BITS,
  SLACK_SHIFT,
  UNIT_BYTES,
  UNIT_WORDS_SHIFT,
  WORD_VALUE_LENGTH,
} from './layout.js'
import type { SegmentTable } from './segment-table.js'

/** What the compactor asks of its log. */
export interface CompactionHost {
  isTail(segment: number): boolean
  /** Moves the entry at an address to the tail if it is the latest version of its key; false where there is no room. */
  moveIfLatest(address: number): boolean
  /** Nothing living is left in the segment. */
  emptied(segment: number): void
}

/** Units walked in one step: about 64 KiB, some hundred entries. */
const STEP_UNITS: number = (64 * 1024) / UNIT_BYTES
/** Units walked for each unit appended or removed. */
const WALK_PER_UNIT = 4
/** Compaction begins when more than this share is dead of the segments that can be given back at once … */
const DEAD_SHARE = 1 / 3
/** … or this one of all … */
const PINNED_DEAD_SHARE = 3 / 4
/** … with segments of which at least this share is. */
const VICTIM_SHARE = 1 / 4
const NONE = -1

export class Compactor {
  readonly #segments: SegmentTable
  readonly #host: CompactionHost
  #victim: number = NONE
  #offset = 1
  #credit = 0

  constructor(segments: SegmentTable, host: CompactionHost) {
    this.#segments = segments
    this.#host = host
  }

  /** There is a segment worth compacting. */
  get hasWork(): boolean {
    return this.#victim !== NONE || this.#choose() !== NONE
  }

  /** The log has grown, or something in it has died, by this much: `paid` does the share of work that this pays for. */
  owe(units: number): void {
    this.#credit += units * WALK_PER_UNIT
  }

  /** The same, and does the work at once where it has come to a step. */
  paid(units: number): void {
    this.owe(units)
    if (this.#credit < STEP_UNITS) return
    this.#credit -= STEP_UNITS
    this.step()
  }

  /** One step; false where there is nothing to do, or no room to do it in. */
  step(): boolean {
    if (this.#victim === NONE) {
      this.#credit = 0
      this.#begin(this.#choose())
      if (this.#victim === NONE) return false
    }
    return this.#walk(STEP_UNITS)
  }

  /** Compacts one segment wholly that can be given back, if at least `share` of it is dead; returns whether there was one. */
  reclaim(share: number): boolean {
    if (this.#victim === NONE || this.#segments.isPinned(this.#victim))
      this.#begin(this.#survey(share, false).victim)
    return this.#victim !== NONE && this.#walk(Infinity)
  }

  /** The segment is gone by itself. */
  forget(segment: number): void {
    if (segment === this.#victim) this.#victim = NONE
  }

  #begin(victim: number): void {
    this.#victim = victim
    this.#offset = 1
  }

  /** What is worth compacting now. */
  #choose(): number {
    if (this.#segments.deadBytes === 0) return NONE
    const free = this.#survey(VICTIM_SHARE, false)
    if (free.victim !== NONE && free.deadShare > DEAD_SHARE) return free.victim
    const all = this.#survey(VICTIM_SHARE, true)
    return all.deadShare > PINNED_DEAD_SHARE ? all.victim : NONE
  }

  /**
   * How much is dead of all segments, or of those that are not pinned, and which has the largest dead share, if that is at least
   * `share`. A segment that is dead altogether waits to be given back: nothing is left to do there.
   */
  #survey(share: number, withPinned: boolean): { readonly victim: number; readonly deadShare: number } {
    const segments = this.#segments
    const { usedUnits, deadUnits } = segments
    let [victim, victimShare, allUsed, allDead] = [NONE, share, 0, 0]
    for (let number = 0; number < usedUnits.length; number++) {
      const used = (usedUnits[number] as number) - 1
      const dead = deadUnits[number] as number
      if (used <= 0 || dead === used || (!withPinned && segments.isPinned(number))) continue
      allUsed += used
      allDead += dead
      if (dead < used * victimShare || this.#host.isTail(number)) continue
      victim = number
      victimShare = dead / used
    }
    return { victim, deadShare: allUsed === 0 ? 0 : allDead / allUsed }
  }

  /** Returns false where the log has no room for what must be moved. */
  #walk(units: number): boolean {
    const number = this.#victim
    const words = this.#segments.words[number] as Int32Array
    const end = this.#segments.usedUnits[number] as number
    let left = units
    while (this.#offset < end && left > 0) {
      const offset = this.#offset
      const at = offset << UNIT_WORDS_SHIFT
      const meta = words[at] as number
      const valueLength = words[at + WORD_VALUE_LENGTH] as number
      const size =
        entryUnits(meta & KEY_LENGTH_MASK, valueLength, (meta & FLAG_EXPIRES) !== 0) + (meta >>> SLACK_SHIFT)
      if (!this.#host.moveIfLatest(((number << OFFSET_BITS) | offset) >>> 0)) {
        this.#victim = NONE
        return false
      }
      // Moving the last living entry has released the segment.
      if (this.#victim === NONE) return true
      this.#offset = offset + size
      left -= size
    }
    if (this.#offset >= end) {
      this.#victim = NONE
      this.#host.emptied(number)
    }
    return true
  }
}

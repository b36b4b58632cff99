// Compaction: the living entries of a mostly dead segment are appended to the log again, and the segment is given back.
//
// (1) Work is done in steps of bounded size, paid for by what is appended and removed: a log never needs a pause for it.
// (2) A moved entry keeps its epoch, so to snapshots it is the same version.
// (3) The tail is never compacted; a large entry's own segment is only released, never copied.
// (4) While somebody may still read a segment, to compact it frees nothing yet, and takes room for what is moved. So of segments
//     that can be given back at once a third may be dead, and of the others, which are told apart by who may read them,
//     three quarters, and as much as lives in all. What lives in these goes to a segment of its own: at the tail it would make
//     all that is written there something that the same readers may read.

import type { Entries } from './entries.js'
import type { ChangeTracker } from './history/change-tracker.js'
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
import type { LogSpace } from './log-space.js'
import type { LogTail } from './log-tail.js'
import type { SegmentTable } from './segment-table.js'

/** What compaction works on: parts of one log. */
export interface CompactedLog {
  readonly segments: SegmentTable
  readonly entries: Entries
  readonly tail: LogTail
  readonly space: LogSpace
  readonly changes: ChangeTracker
  /** Points the index to where an entry, the latest of its key, is now. */
  moved(from: number, to: number): void
}

/** Units walked in one step: about 64 KiB, some hundred entries. */
const STEP_UNITS: number = (64 * 1024) / UNIT_BYTES
/** Units walked for each unit appended or removed. */
const WALK_PER_UNIT = 4
/** More than this share of the segments must be dead that can be given back at once … */
const DEAD_SHARE = 1 / 3
/** … or this one of those that the same snapshots keep … */
const PINNED_DEAD_SHARE = 3 / 4
/** … and at least this share of the one that is compacted. */
const VICTIM_SHARE = 1 / 4
const NONE = -1

/** Segments that the same readers may read. */
interface Age {
  used: number
  dead: number
  victim: number
  victimShare: number
}

export class Compactor {
  readonly #segments: SegmentTable
  readonly #log: CompactedLog
  #victim: number = NONE
  /** Where its living entries go; undefined: to the tail. */
  #target: number | undefined
  #offset = 1
  #credit = 0

  constructor(log: CompactedLog) {
    this.#segments = log.segments
    this.#log = log
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
    if (this.#victim === NONE || this.#segments.isPinned(this.#victim)) {
      this.#end()
      this.#begin(this.#survey(share).at(-1)?.victim ?? NONE)
    }
    return this.#victim !== NONE && this.#walk(Infinity)
  }

  /** Whether entries are being moved to the segment. */
  isTarget(segment: number): boolean {
    return segment === this.#target
  }

  /** The segment is gone by itself. */
  forget(segment: number): void {
    if (segment === this.#victim) this.#end()
  }

  #begin(victim: number): void {
    if (victim !== NONE && this.#segments.isPinned(victim)) {
      const { usedUnits, deadUnits } = this.#segments
      const living = (usedUnits[victim] as number) - 1 - (deadUnits[victim] as number)
      const beside = this.#log.space.besideBytes
      if (!this.#segments.canAllocateExactly(living, beside)) return
      this.#target = this.#segments.allocateExactly(living, beside)
    }
    this.#victim = victim
    this.#offset = 1
  }

  #end(): void {
    const target = this.#target
    this.#victim = NONE
    this.#target = undefined
    if (target !== undefined && this.#segments.isDead(target)) this.#log.tail.retire(target)
  }

  /** What is worth compacting now. */
  #choose(): number {
    if (this.#segments.deadBytes === 0) return NONE
    const ages = this.#survey(VICTIM_SHARE)
    const youngest = ages.at(-1)
    if (youngest !== undefined && youngest.dead > youngest.used * DEAD_SHARE && youngest.victim !== NONE) {
      return youngest.victim
    }
    const living = ages.reduce((sum, { used, dead }) => sum + used - dead, 0)
    const isWorthIt = ({ used, dead }: Age) => dead > Math.max(used * PINNED_DEAD_SHARE, living)
    return ages.slice(0, -1).findLast((age) => age.victim !== NONE && isWorthIt(age))?.victim ?? NONE
  }

  /**
   * The segments by who may read them: those that all readers may, first, and those that nobody may who has begun by now, last. A
   * victim has the largest dead share of its age, if that is at least `share`. A segment that is dead altogether waits to be given
   * back: nothing is left to do there.
   */
  #survey(share: number): Age[] {
    const segments = this.#segments
    const { usedUnits, deadUnits } = segments
    const ages: Age[] = Array.from({ length: segments.pinCount + 1 }, () => ({
      used: 0,
      dead: 0,
      victim: NONE,
      victimShare: share,
    }))
    for (let number = 0; number < usedUnits.length; number++) {
      const used = (usedUnits[number] as number) - 1
      const dead = deadUnits[number] as number
      if (used <= 0 || dead === used) continue
      const age = ages[segments.ageOf(number)] as Age
      age.used += used
      age.dead += dead
      if (dead < used * age.victimShare || number === this.#log.tail.number) continue
      age.victim = number
      age.victimShare = dead / used
    }
    return ages
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
      if (!this.#moveIfLatest(((number << OFFSET_BITS) | offset) >>> 0)) {
        this.#end()
        return false
      }
      // Moving the last living entry has released the segment.
      if (this.#victim === NONE) return true
      this.#offset = offset + size
      left -= size
    }
    if (this.#offset >= end) {
      this.#end()
      this.#log.tail.retire(number)
    }
    return true
  }

  /** Moves the entry at `address` to the target, if it is the latest version of its key; false where there is no room. */
  #moveIfLatest(address: number): boolean {
    const { entries, tail, changes } = this.#log
    const segments = this.#segments
    const target = this.#target
    if (entries.isBuried(address)) return true
    const units = entries.bareUnits(address)
    if (target === undefined && segments.room(tail.number) < units) {
      const beside = this.#log.space.besideBytes
      if (!segments.canAllocate(units, beside)) return false
      tail.roll(units, beside)
    }
    const moved = segments.take(target ?? tail.number, units)
    entries.move(address, moved)
    segments.moved(address >>> OFFSET_BITS, moved >>> OFFSET_BITS)
    this.#log.moved(address, moved)
    if (entries.epoch(moved) > changes.oldest) changes.push(moved)
    tail.bury(address)
    return true
  }
}

import type { SlicedWork } from '../../base/slices.js'
import { DueEntries } from '../due/due-entries.js'
import { FixedSessions } from './fixed-sessions.js'
import { IS_DEAD, KeyTable } from './key-table.js'
import { ONE_WINDOW } from './window-list.js'

/** Behind a compaction all that is due is made anew: it waits until more is dead than where that is not so. */
const COMPACTED_SHARE = 3 / 4
/** So many keys are looked at in one step. */
const STEP_KEYS = 64

/** The open sessions of all keys, and when something of each key is due. */
export class SessionTable {
  readonly table: KeyTable = new KeyTable()
  /** Those of the entry that was shown last. */
  readonly sessions: FixedSessions
  /** Bytes of a value with one session. */
  readonly oneBytes: number
  /** How many sessions there are. */
  open = 0
  #due = new DueEntries()

  constructor(accumulatorBytes: number) {
    this.sessions = new FixedSessions(accumulatorBytes)
    this.oneBytes = ONE_WINDOW.accumulatorAt + accumulatorBytes
  }

  get due(): DueEntries {
    return this.#due
  }

  /** Shows the sessions of an entry where they lie. */
  show(entry: number): void {
    const { table } = this
    this.sessions.show(table.memoryOf(entry), table.accumulatorAt(entry), table.accumulatorBytes(entry))
  }

  /** How many sessions there are in so many bytes. */
  countIn(length: number): number {
    return length === 0 ? 0 : (length - ONE_WINDOW.startAt) / this.sessions.strideBytes
  }

  firstEndMs(entry: number): number {
    this.show(entry)
    return this.sessions.count === 0 ? Infinity : this.sessions.endMs(0)
  }

  addDue(entry: number, endMs: number): void {
    this.#due.add(endMs - 1, entry)
  }

  /** Keeps the table within a constant factor of what is alive. */
  *compact(watermarkMs: number): SlicedWork<void> {
    const { table } = this
    if (!table.isMostlyDead(COMPACTED_SHARE)) return
    yield* table.compact()
    this.#due = new DueEntries()
    yield* this.#due.takeUntil(watermarkMs)
    let steps = 0
    for (let entry = table.first(); entry !== 0; entry = table.next(entry)) {
      if (++steps % STEP_KEYS === 0) yield
      if (table.has(entry, IS_DEAD)) continue
      this.addDue(entry, this.firstEndMs(entry))
    }
  }
}

import type { TimeWindow } from '../assign/assigner.js'
import type { Pane } from '../windowed.js'

/** What has become of an event. */
export interface Entered {
  hasEntered: boolean
  /** When the key is due because of it, where that is earlier than it was before. */
  dueMs: number | undefined
  /** Windows that it has come too late for. */
  missed: TimeWindow[]
  /** Something is to fire after the early or the refire interval, which was not so before. */
  isAwaited: boolean
}

/** A result, as the windows of a key give it. */
export type Fire = (window: TimeWindow, value: unknown, pane: Pane, more: FireExtras | undefined) => void

export interface FireExtras {
  readonly replaces?: readonly TimeWindow[]
  readonly isFull?: boolean
}

/** How one kind of windows works on the list of a key's windows, which somebody else loads and saves. */
export interface KeyWindows {
  /** Whether at one time windows of different starts may be due: results are then ordered by these (W16). */
  readonly startsDiffer: boolean
  enter(event: unknown, timestampMs: number, watermarkMs: number, entered: Entered): void
  /** What an event that has entered makes fire at once. */
  fireEntered(watermarkMs: number): void
  /** What is due at a time: it fires, or its place is given back. */
  fireDue(dueMs: number, watermarkMs: number): void
  /** What waits for a processing time fires. */
  fireAwaited(watermarkMs: number): void
  /** When the key is due next, after a time; `undefined` where it is not. */
  nextDueMs(afterMs: number): number | undefined
  /** The start of the first window that fires at a time. */
  firstStartMs(dueMs: number): number
  /** Whether something waits for a processing time. */
  isAwaited(): boolean
  /** What each window has at the moment, as an early result that changes nothing. */
  show(fire: Fire): void
}

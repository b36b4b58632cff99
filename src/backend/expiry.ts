import type { ForwardClock } from '../base/clock.js'
import { invalidArgument } from '../base/options.js'

/** When something expires that lives for `lifeMs` from now on: a whole number of milliseconds, rounded up; Infinity: never. */
export function expiryOf(lifeMs: number, clock: ForwardClock): number {
  return lifeMs === Infinity ? Infinity : wholeMs(clock.startOfLife(lifeMs) + lifeMs)
}

/**
 * A time rounded up to whole milliseconds; later than a number can count exactly is never. `INVALID_ARGUMENT` where it is no
 * number: a clock's answer, or that of a getter which was another one when it was checked. Nothing that is sorted by time takes it.
 */
export function wholeMs(timeMs: number): number {
  const whole = Math.ceil(timeMs)
  if (whole <= Number.MAX_SAFE_INTEGER) return Math.max(whole, 0)
  if (Number.isNaN(whole)) throw invalidArgument('ttlMs', 'gives a time that is no number')
  return Infinity
}

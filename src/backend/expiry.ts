import type { ForwardClock } from '../base/clock.js'

/** When something expires that lives for `lifeMs` from now on: a whole number of milliseconds, rounded up; Infinity: never. */
export function expiryOf(lifeMs: number, clock: ForwardClock): number {
  return lifeMs === Infinity ? Infinity : wholeMs(clock.startOfLife() + lifeMs)
}

/** A time rounded up to whole milliseconds; later than a number can count exactly is never. */
export function wholeMs(timeMs: number): number {
  const whole = Math.ceil(timeMs)
  return whole > Number.MAX_SAFE_INTEGER ? Infinity : Math.max(whole, 0)
}

import type { ForwardClock } from '../base/clock.js'

/** When something expires that lives for `lifeMs` from now on: a whole number of milliseconds, rounded up; Infinity: never. */
export function expiryOf(lifeMs: number, clock: ForwardClock): number {
  return lifeMs === Infinity ? Infinity : clock.endOfLife(lifeMs)
}

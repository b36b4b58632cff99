import { describe, expect, it } from 'vitest'
import { StateError } from '../base/errors.js'
import { ManualClock } from '../testing/manual-clock.js'
import type { Place } from '../view/place.js'
import { PlaceReader } from './place-reader.js'

describe('a walk through a place', () => {
  it('ends after 15 seconds of the clock that was given, and is then not whole', async () => {
    const clock = new ManualClock()
    const reader = new PlaceReader({} as Place, clock)
    const endless = (signal: AbortSignal) =>
      new Promise<void>((_, reject) => {
        signal.addEventListener('abort', () => reject(new StateError('ABORTED', { operation: 'walk' })))
      })
    const isWhole = reader.isWholeInTime(new AbortController().signal, endless)
    clock.advance(14_999)
    expect(clock.pendingTimers).toBe(1)
    clock.advance(1)
    expect(await isWhole).toBe(false)
    expect(await reader.isWholeInTime(new AbortController().signal, async () => {})).toBe(true)
    expect(clock.pendingTimers).toBe(0)
  })
})

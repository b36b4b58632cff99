import { describe, expect, it } from 'vitest'
import { ForwardClock, wholeMs } from '../base/clock.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { ManualClock } from '../testing/manual-clock.js'
import { expiryOf } from './expiry.js'

const invalid = expect.objectContaining({ code: 'INVALID_ARGUMENT' })

describe('times at which something expires', () => {
  it('are whole milliseconds from 0 on, or never', () => {
    expect([wholeMs(1.2), wholeMs(-5), wholeMs(2 ** 60), wholeMs(Infinity)]).toEqual([
      2,
      0,
      Infinity,
      Infinity,
    ])
    const clock = new ForwardClock(new ManualClock())
    expect(expiryOf(Infinity, clock)).toBe(Infinity)
    expect(expiryOf(0.5, clock)).toBe(clock.now() + 1)
  })

  it('are numbers: one that is not is refused before anything is written', () => {
    expect(() => wholeMs(Number.NaN)).toThrow(invalid)
    const backend = new MemoryStateBackend({ sweepIntervalMs: Infinity })
    let asked = 0
    const fickle = {
      get ttlMs(): number {
        return ++asked < 3 ? 5 : Number.NaN
      },
    }
    const refused: unknown[] = []
    for (let i = 0; i < 5; i++) {
      try {
        backend.putSync(Uint8Array.of(i), Uint8Array.of(i), fickle)
      } catch (error) {
        refused.push(error)
      }
    }
    expect(refused.length).toBeGreaterThan(0)
    for (const error of refused) expect(error).toEqual(invalid)
    expect(backend.stats().entries).toBe(5 - refused.length)
  })
})

import { describe, expect, it } from 'vitest'
import { ManualClock } from './manual-clock.js'

describe('ManualClock', () => {
  it('stands still until it is moved', () => {
    const clock = new ManualClock(1_000)
    expect(clock.now()).toBe(1_000)
    clock.advance(5)
    expect(clock.now()).toBe(1_005)
    clock.set(50)
    expect(clock.now()).toBe(50)
    clock.advance(0)
    expect(clock.now()).toBe(50)
  })

  it('fires timers in the order of their deadlines, each at its own time', () => {
    const clock = new ManualClock(0)
    const fired: string[] = []
    const timer = (name: string, delayMs: number) =>
      clock.setTimer(() => fired.push(`${name}@${clock.now()}`), delayMs)
    timer('late', 30)
    timer('early', 10)
    timer('same', 10)
    timer('beyond', 31)
    expect(clock.pendingTimers).toBe(4)
    clock.advance(30)
    expect(fired).toEqual(['early@10', 'same@10', 'late@30'])
    expect(clock.now()).toBe(30)
    expect(clock.pendingTimers).toBe(1)
  })

  it('fires timers that callbacks set, within the same advance', () => {
    const clock = new ManualClock(0)
    const fired: number[] = []
    const tick = () => {
      fired.push(clock.now())
      clock.setTimer(tick, 10)
    }
    clock.setTimer(tick, 10)
    clock.advance(35)
    expect(fired).toEqual([10, 20, 30])
    expect(clock.now()).toBe(35)
  })

  it('does not spin on timers without a delay', () => {
    const clock = new ManualClock(0)
    let fired = 0
    const again = () => {
      fired++
      clock.setTimer(again, 0)
    }
    again()
    clock.advance(3)
    expect(fired).toBe(4)
  })

  it('forgets a timer that was cancelled, also by another timer', () => {
    const clock = new ManualClock()
    const fired: string[] = []
    const cancel = clock.setTimer(() => fired.push('cancelled'), 20)
    clock.setTimer(cancel, 10)
    clock.setTimer(() => fired.push('kept'), 20)
    clock.advance(100)
    cancel()
    expect(fired).toEqual(['kept'])
    expect(clock.pendingTimers).toBe(0)
  })

  it('jumps back without firing, and timers keep their remaining delay', () => {
    const clock = new ManualClock(10_000)
    const fired: number[] = []
    clock.setTimer(() => fired.push(clock.now()), 100)
    clock.advance(60)
    clock.set(500)
    expect(fired).toEqual([])
    clock.advance(39)
    expect(fired).toEqual([])
    clock.advance(1)
    expect(fired).toEqual([540])
  })

  it('jumps forward and fires what it passed, at the new time', () => {
    const clock = new ManualClock(0)
    const fired: string[] = []
    clock.setTimer(() => fired.push(`b@${clock.now()}`), 20)
    clock.setTimer(() => {
      fired.push(`a@${clock.now()}`)
      clock.setTimer(() => fired.push('next'), 10)
    }, 10)
    clock.set(1_000_000_000)
    expect(fired).toEqual(['a@1000000000', 'b@1000000000'])
    expect(clock.pendingTimers).toBe(1)
  })

  it('lets promise chains come to rest between timers', async () => {
    const clock = new ManualClock(0)
    const log: string[] = []
    const work = async (name: string) => {
      for (let i = 0; i < 5; i++) await Promise.resolve()
      await new Promise((resolve) => setImmediate(resolve))
      log.push(`${name} done at ${clock.now()}`)
      if (name === 'a') clock.setTimer(() => void work('c'), 5)
    }
    clock.setTimer(() => void work('a'), 10)
    clock.setTimer(() => void work('b'), 20)
    await clock.advanceAsync(20)
    expect(log).toEqual(['a done at 10', 'c done at 15', 'b done at 20'])
  })

  it('rejects what is no time', () => {
    const clock = new ManualClock()
    expect(() => clock.advance(-1)).toThrow('to jump back, use set()')
    for (const wrong of [Number.NaN, Infinity, '5' as unknown as number]) {
      expect(() => clock.advance(wrong)).toThrow('must be a finite number')
      expect(() => clock.set(wrong)).toThrow('must be a finite number')
      expect(() => clock.setTimer(() => {}, wrong)).toThrow('must be a finite number')
      expect(() => new ManualClock(wrong)).toThrow('must be a finite number')
    }
  })
})

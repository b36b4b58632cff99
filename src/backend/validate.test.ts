import { describe, expect, it } from 'vitest'
import { validatePutOptions } from './validate.js'

const CALLS = 1_000

/** Options that count how often they are looked through. */
function counted(options: { ttlMs: number }): { options: { ttlMs: number }; looks: () => number } {
  let looks = 0
  const proxy = new Proxy(options, {
    ownKeys: (target) => {
      looks++
      return Reflect.ownKeys(target)
    },
  })
  return { options: proxy, looks: () => looks }
}

describe('validatePutOptions', () => {
  it('looks through options that are frozen some times at most, and through others each time', () => {
    const frozen = counted(Object.freeze({ ttlMs: 5 }))
    const open = counted({ ttlMs: 5 })
    for (let i = 0; i < CALLS; i++) validatePutOptions(frozen.options)
    for (let i = 0; i < CALLS; i++) validatePutOptions(open.options)
    expect(frozen.looks()).toBeLessThan(CALLS / 10)
    expect(open.looks()).toBeGreaterThanOrEqual(CALLS)
  })

  it('refuses what is added to options that were valid many times, and what a frozen getter says the next time', () => {
    const options: { ttlMs: number; ttl?: number } = { ttlMs: 5 }
    let answer = 5
    const getter = Object.freeze({
      get ttlMs() {
        return answer
      },
    })
    for (let i = 0; i < CALLS; i++) validatePutOptions(options)
    for (let i = 0; i < CALLS; i++) validatePutOptions(getter)
    options.ttl = 6
    answer = -1
    expect(() => validatePutOptions(options)).toThrow('options.ttl is unknown')
    expect(() => validatePutOptions(getter)).toThrow('options.ttlMs must be a positive number')
  })

  it('refuses a frozen one that is wrong each time', () => {
    const wrong = Object.freeze({ ttlMs: 0 })
    for (let i = 0; i < 200; i++) expect(() => validatePutOptions(wrong)).toThrow('options.ttlMs')
  })
})

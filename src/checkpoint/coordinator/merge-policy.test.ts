import { describe, expect, it } from 'vitest'
import { MAX_SEGMENTS } from '../format/manifest.js'
import { isChainTooLong, isMergeDue, MAX_DELTAS } from './merge-policy.js'

const MIB = 1024 * 1024
const policy = { maxDeltas: 3, maxDeltaRatio: 0.5 }

function segments(...sizes: readonly number[]) {
  return sizes.map((sizeBytes) => ({ sizeBytes }))
}

describe('the merging policy', () => {
  it('merges when there are more deltas than allowed', () => {
    expect(isMergeDue(segments(100 * MIB, 1, 1, 1), policy)).toBe(false)
    expect(isMergeDue(segments(100 * MIB, 1, 1, 1, 1), policy)).toBe(true)
  })

  it('merges when the deltas outweigh their share of the base', () => {
    expect(isMergeDue(segments(10 * MIB, 3 * MIB, 2 * MIB), policy)).toBe(false)
    expect(isMergeDue(segments(10 * MIB, 3 * MIB, 2 * MIB + 1), policy)).toBe(true)
    expect(isMergeDue(segments(10 * MIB, 9 * MIB), { ...policy, maxDeltaRatio: Infinity })).toBe(false)
  })

  it('does not rewrite a small base for small deltas', () => {
    expect(isMergeDue(segments(100, MIB - 1), policy)).toBe(false)
    expect(isMergeDue(segments(100, MIB), policy)).toBe(true)
  })

  it('has nothing to merge in a base alone, however small', () => {
    expect(isMergeDue(segments(0), policy)).toBe(false)
    expect(isMergeDue([], policy)).toBe(false)
  })

  it('ends a chain that is not merged in time, before a manifest cannot name it', () => {
    expect(isChainTooLong(segments(1, ...Array<number>(11).fill(1)), policy)).toBe(false)
    expect(isChainTooLong(segments(1, ...Array<number>(12).fill(1)), policy)).toBe(true)
    const longest = segments(1, ...Array<number>(4 * MAX_DELTAS).fill(1))
    expect(isChainTooLong(longest, { maxDeltas: MAX_DELTAS })).toBe(true)
    expect(longest.length).toBeLessThanOrEqual(MAX_SEGMENTS)
  })
})

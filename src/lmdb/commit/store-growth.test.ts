import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { growthAtMost, growthOfOneKey, roughGrowth } from './store-growth.js'

describe('how much a store grows at most', () => {
  const tree = fc.record({
    depth: fc.nat(8),
    branchPages: fc.nat(1_000_000),
    leafPages: fc.nat(1_000_000_000),
  })

  it('is told roughly as no less than it is', () => {
    fc.assert(
      fc.property(
        fc.record({ entries: tree, expiry: tree }),
        fc.oneof(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 1_000_000 })),
        fc.oneof(fc.nat(10_000), fc.nat(1e12)),
        (shape, keys, bytes) => {
          const exact = growthAtMost(shape, keys, bytes)
          expect(roughGrowth(growthOfOneKey(shape), keys, bytes)).toBeGreaterThanOrEqual(exact)
        },
      ),
    )
  })
})

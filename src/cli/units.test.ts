import { describe, expect, it } from 'vitest'
import { countText, entriesText } from './units.js'

describe('entriesText', () => {
  it('has one entry as one, and none as several', () => {
    expect([0, 1, 2, 1_000].map(entriesText)).toEqual(['0 entries', '1 entry', '2 entries', '1,000 entries'])
  })
})

describe('countText', () => {
  it('has a comma before every three digits', () => {
    const counts = [0, 7, 999, 1_000, 12_345, 999_999, 1_000_000, 123_456_789_012, Number.MAX_SAFE_INTEGER]
    for (const count of counts) expect(countText(count)).toBe(count.toLocaleString('en-US'))
  })
})

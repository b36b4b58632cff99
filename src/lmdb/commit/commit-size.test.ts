import { expect, it } from 'vitest'
import { STORE_PAGE_BYTES } from '../store/data-file.js'
import { commitSize } from './commit-size.js'

const cacheBytes = 256 * 1024 * 1024
const allowedPages = cacheBytes / 2 / STORE_PAGE_BYTES

/** Pages that so many keys at random touch in a store. */
const touched = (keys: number, pages: number): number => pages * (1 - Math.exp(-keys / pages))

it('is what was asked for, whatever the store has', () => {
  for (const usedBytes of [0, 2 ** 40])
    expect(commitSize(usedBytes, { cacheBytes, flushEvery: 100 }).dueKeys).toBe(100)
})

it('has no bound of keys where a commit may change all pages', () => {
  const size = commitSize(cacheBytes / 2, { cacheBytes, flushEvery: undefined })
  expect(size).toEqual({ dueKeys: Infinity, holdKeys: Infinity })
})

it('changes no more pages than it may in a larger store, and begins before all of that waits', () => {
  for (const times of [1.01, 1.5, 4, 1_000]) {
    const pages = times * allowedPages
    const size = commitSize(pages * STORE_PAGE_BYTES, { cacheBytes, flushEvery: undefined })
    expect(touched(size.holdKeys, pages)).toBeLessThanOrEqual(allowedPages * 1.001)
    expect(size.dueKeys).toBeLessThanOrEqual(size.holdKeys)
    expect(size.dueKeys).toBeGreaterThanOrEqual(16_384)
  }
  expect(commitSize(2 ** 40, { cacheBytes: 1024 * 1024, flushEvery: undefined }).dueKeys).toBe(16_384)
})

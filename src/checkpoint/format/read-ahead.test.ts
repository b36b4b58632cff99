import { expect, it } from 'vitest'
import { READ_AHEAD, ReadAhead, readAheadOf } from './read-ahead.js'

it('of several streams, the one with most of the bytes is read in large pieces, and none in tiny ones', () => {
  const { pieceBytes, pieces } = READ_AHEAD
  expect(readAheadOf(1)).toEqual(READ_AHEAD)
  expect(readAheadOf(0.9)).toEqual({ pieceBytes: Math.floor(pieceBytes * 0.9), pieces })
  expect(readAheadOf(0.001)).toEqual({ pieceBytes: 64 * 1024, pieces })
})

it('a base beside ten small deltas is read in hardly more calls than alone', async () => {
  const sizeBytes = 20 * READ_AHEAD.pieceBytes
  const callsWith = async (share: number) => {
    let calls = 0
    const read = async (_offset: number, length: number) => {
      calls++
      return new Uint8Array(length)
    }
    const source = new ReadAhead({ sizeBytes, read, close: async () => {} }, 0, sizeBytes, readAheadOf(share))
    while (source.position < sizeBytes) await source.take(Math.min(100_000, sizeBytes - source.position))
    return calls
  }
  expect(await callsWith(1)).toBe(20)
  expect(await callsWith(0.9)).toBeLessThanOrEqual(23)
})

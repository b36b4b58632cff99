import { expect, it } from 'vitest'
import { READ_AHEAD, ReadAhead, readAheadOf } from './read-ahead.js'

it('of several streams, the one with most of the bytes is read in large pieces, and none in tiny ones', () => {
  const { pieceBytes, pieces } = READ_AHEAD
  expect(readAheadOf(1)).toEqual(READ_AHEAD)
  expect(readAheadOf(0.9)).toEqual({ pieceBytes: Math.floor(pieceBytes * 0.9), pieces })
  expect(readAheadOf(0.001)).toEqual({ pieceBytes: 64 * 1024, pieces })
})

it('gives what lies together where no certain length is asked for, every byte once', async () => {
  const bytes = Uint8Array.from({ length: 1_000 }, (_, i) => i % 251)
  const read = async (offset: number, length: number) => bytes.slice(offset, offset + length)
  const limits = { pieceBytes: 300, pieces: 2 }
  const source = new ReadAhead({ sizeBytes: 1_000, read, close: async () => {} }, 0, 1_000, limits)
  const parts: Uint8Array[] = [await source.take(10)]
  while (source.position < 1_000) parts.push(await source.takeSome(Math.min(200, 1_000 - source.position)))
  expect(parts.map(({ length }) => length)).toEqual([10, 200, 90, 200, 100, 200, 100, 100])
  expect(new Uint8Array(Buffer.concat(parts))).toEqual(bytes)
  await expect(source.takeSome(1)).rejects.toMatchObject({ code: 'CORRUPTION' })
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

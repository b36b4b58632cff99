import { describe, expect, it } from 'vitest'
import { ValuePool } from './value-pool.js'

describe('ValuePool', () => {
  const words = new Int32Array(1_024)
  const bytes = new Uint8Array(words.buffer).map((_, i) => i % 251)
  new Uint8Array(words.buffer).set(bytes)

  it('cuts copies of up to 1,024 bytes from buffers of 16 KiB, and gives larger ones memory of their own', () => {
    const pool = new ValuePool()
    const small = pool.copy(bytes, words, 4, 100)
    const limit = pool.copy(bytes, words, 0, 1_024)
    const large = pool.copy(bytes, words, 0, 1_025)
    expect([small, limit, large].map(({ buffer }) => buffer.byteLength)).toEqual([16_384, 16_384, 1_025])
    expect(
      [small, limit, large].every((copy, i) =>
        copy.every((byte, at) => byte === bytes[at + (i === 0 ? 4 : 0)]),
      ),
    ).toBe(true)
  })

  it('copies from anywhere in memory with a view', () => {
    const pool = new ValuePool()
    const memory = { bytes, view: new DataView(bytes.buffer) }
    for (const length of [1, 3, 100, 129, 1_024, 1_025]) {
      const copy = pool.copyViewed(memory, 7, length)
      expect(Buffer.compare(copy, bytes.subarray(7, 7 + length))).toBe(0)
      expect(copy.buffer.byteLength).toBe(length > 1_024 ? length : 16_384)
    }
  })

  it('lets a caller keep a copy without its neighbours', () => {
    const copy = new ValuePool().copy(bytes, words, 4, 100)
    expect(copy.slice().buffer.byteLength).toBe(100)
  })
})

import { describe, expect, it } from 'vitest'
import { EntryBlockBuilder } from './entry-block.js'

/** An entry as the log has it: key and value at whole words, with other bytes behind each. */
function alignedOf(key: Uint8Array, value: Uint8Array, expiresAtMs: number) {
  const keyStart = 16
  const valueStart = keyStart + Math.ceil(key.length / 8) * 8
  const bytes = new Uint8Array(valueStart + Math.ceil(value.length / 8) * 8).fill(0xee)
  bytes.set(key, keyStart)
  bytes.set(value, valueStart)
  const { buffer } = bytes
  return {
    bytes,
    view: new DataView(buffer),
    words: new Int32Array(buffer),
    keyStart,
    keyLength: key.length,
    valueStart,
    valueLength: value.length,
    expiresAtMs,
  }
}

describe('a block of entries that lie at whole words', () => {
  it('is the same as one of entries that lie anywhere, whatever their lengths, and however little room is left', () => {
    const lengths = [0, 1, 2, 3, 4, 5, 7, 8, 31, 127, 128, 129, 300]
    const aligned = new EntryBlockBuilder(64)
    const any = new EntryBlockBuilder(64)
    for (const keyLength of lengths) {
      for (const valueLength of lengths) {
        for (const expiresAtMs of [Infinity, 1_700_000_000_123.5]) {
          const key = Uint8Array.from({ length: keyLength }, (_, i) => i * 7 + 1)
          const value = Uint8Array.from({ length: valueLength }, (_, i) => i * 11 + 2)
          aligned.addAligned(alignedOf(key, value, expiresAtMs))
          any.add(key, value, expiresAtMs)
          if (any.full) expect(aligned.take()).toEqual(any.take())
        }
      }
    }
    expect(aligned.entryCount).toBe(any.entryCount)
  })
})

describe('Memory of blocks', () => {
  const numbered = (number: number, valueBytes = 20) =>
    [Buffer.from([number]), Buffer.alloc(valueBytes, number)] as const

  it('is used again once a block was given back, and not before', () => {
    const builder = new EntryBlockBuilder(64)
    const blockOf = (number: number) => {
      builder.add(...numbered(number), Infinity)
      return builder.takeWithMemory()
    }
    const first = blockOf(1)
    const second = blockOf(2)
    const bytes = first.bytes.slice()
    builder.add(...numbered(6), Infinity)
    builder.giveBack(second)
    expect(builder.takeWithMemory().bytes.at(-1)).toBe(6)
    const others = [3, 4, 5].map(blockOf)
    expect(first.bytes).toEqual(bytes)
    expect(others.filter(({ bytes: { buffer } }) => buffer === second.bytes.buffer)).toHaveLength(1)
    expect(others.map(({ bytes: own }) => own.at(-1))).toEqual([3, 4, 5])
    expect(builder.entryCount).toBe(0)
  })

  it('is not kept where a large entry made it larger', () => {
    const builder = new EntryBlockBuilder(64)
    builder.add(...numbered(1, 1_000), Infinity)
    const large = builder.takeWithMemory()
    builder.giveBack(large)
    const next = [2, 3].map((number) => {
      builder.add(...numbered(number), Infinity)
      return builder.takeWithMemory()
    })
    expect(next.map(({ bytes }) => bytes.buffer)).not.toContain(large.bytes.buffer)
  })
})

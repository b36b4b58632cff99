import { describe, expect, it } from 'vitest'
import { Uint32List } from './uint32-list.js'

describe('Uint32List', () => {
  it('keeps what is pushed over many chunks, and gives back the memory of what is popped', () => {
    const list = new Uint32List(1)
    const count = 200_000
    for (let i = 0; i < count; i++) list.push(i * 7)
    expect(list.length).toBe(count)
    expect(list.byteLength).toBeLessThan(count * 4 + 64 * 1024 * 4 + 1)
    list.set(150_000, 1)
    const expected = Uint32Array.from({ length: count }, (_, i) => (i === 150_000 ? 1 : i * 7))
    expect(Buffer.from(list.toArray().buffer).equals(Buffer.from(expected.buffer))).toBe(true)
    const wrong: number[] = []
    for (let i = count - 1; i >= 0; i--) {
      if (list.at(i) !== expected[i] || list.pop() !== expected[i]) wrong.push(i)
    }
    expect(wrong).toEqual([])
    expect(list.length).toBe(0)
    expect(list.byteLength).toBe(64 * 1024 * 4)
    list.push(5)
    expect([...list.toArray()]).toEqual([5])
  })
})

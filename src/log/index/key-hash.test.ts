import { describe, expect, it } from 'vitest'
import { type HashKey, hashWords, randomHashKey } from './key-hash.js'
import { loadBytes, loadViewed } from './key-probe.js'

const KEY = { low: 0x03020100, high: 0x07060504 }
const words = () => new Int32Array(513)

function hashInto(into: Int32Array, bytes: Uint8Array, start: number, length: number, key: HashKey): number {
  loadBytes(into, bytes, start, length)
  return hashWords(into, length, key)
}

/** Multiplied with it, `odd` is 1 in 32 bits (Newton's iteration). */
function inverseOf(odd: number): number {
  let inverse = odd
  for (let i = 0; i < 5; i++) inverse = Math.imul(inverse, 2 - Math.imul(odd, inverse))
  return inverse
}

const rotated = (word: number, by: number) => (word << by) | (word >>> (32 - by))
const mixedByMurmur = (word: number) => Math.imul(rotated(Math.imul(word, 0xcc9e2d51), 15), 0x1b873593)
const unmixed = (word: number) =>
  Math.imul(rotated(Math.imul(word, inverseOf(0x1b873593)), 17), inverseOf(0xcc9e2d51))

function murmur3(key: Buffer, seed: number): number {
  let hash = seed
  for (let at = 0; at < key.length; at += 4) {
    hash = (Math.imul(rotated(hash ^ mixedByMurmur(key.readInt32LE(at)), 13), 5) + 0xe6546b64) | 0
  }
  return hash
}

/** Keys with one MurmurHash3 whatever its seed: what one word of a pair changes in the state, the next one takes back. */
function keysPreparedForMurmur(pairs: number): Buffer[] {
  return Array.from({ length: 1 << pairs }, (_, choice) => {
    const key = Buffer.alloc(pairs * 8, 'prepared')
    for (let pair = 0; pair < pairs; pair++) {
      if (((choice >>> pair) & 1) === 0) continue
      const flip = (at: number, bit: number) =>
        key.writeInt32LE(unmixed(mixedByMurmur(key.readInt32LE(at)) ^ bit), at)
      flip(pair * 8, 1 << 18)
      flip(pair * 8 + 4, 1 << 31)
    }
    return key
  })
}

describe('the hash of keys', () => {
  it('tells keys apart that were prepared to collide under MurmurHash3 with any seed', () => {
    const keys = keysPreparedForMurmur(11)
    for (const seed of [0, 1, -123_456]) {
      expect(new Set(keys.map((key) => murmur3(key, seed))).size, 'the test is right').toBe(1)
    }
    const hashKey = randomHashKey()
    const hashes = new Set(keys.map((key) => hashInto(words(), key, 0, key.length, hashKey)))
    expect(hashes.size).toBeGreaterThan(keys.length - 5)
  })

  // The first of the vectors that Linux tests its hsiphash with (lib/test_siphash.c, 32-bit machines): bytes 0, 1, 2, …
  it.each([0x5814c896, 0xe7e864ca, 0xbc4b0e30, 0x01539939, 0x7e059ea6, 0x88e3d89b, 0xa0080b65, 0x9d38d9d6])(
    'is HalfSipHash-1-3: test vector %#',
    (expected) => {
      const vectors = [0, 1, 2, 3, 4, 5, 6, 7].map((length) => {
        const message = Uint8Array.from({ length }, (_, i) => i)
        return hashInto(words(), message, 0, length, KEY) >>> 0
      })
      expect(vectors).toContain(expected)
    },
  )

  it('does not depend on where the bytes lie, and stores them as padded words', () => {
    for (let length = 0; length < 70; length++) {
      const message = Buffer.from(Array.from({ length }, (_, i) => (i * 37) & 0xff))
      const larger = Buffer.concat([Buffer.from('abc'), message, Buffer.from('def')])
      const stored = words().fill(-1)
      expect(hashInto(stored, larger, 3, length, KEY)).toBe(hashInto(words(), message, 0, length, KEY))
      const padded = Buffer.alloc((length + 3) & ~3)
      message.copy(padded)
      expect(Buffer.from(stored.buffer, 0, padded.length).equals(padded)).toBe(true)
      const viewed = words().fill(-1)
      const view = new DataView(larger.buffer, larger.byteOffset, larger.length)
      loadViewed(viewed, view, 3, length)
      expect(viewed).toEqual(stored)
    }
  })

  it('differs with each bit of its key, and takes a new key each time', () => {
    const message = Buffer.from('window:us-east:00000001')
    const hashes = new Set<number>()
    for (let bit = 0; bit < 64; bit++) {
      const key = { low: bit < 32 ? 1 << bit : 0, high: bit < 32 ? 0 : 1 << (bit - 32) }
      hashes.add(hashInto(words(), message, 0, message.length, key))
    }
    expect(hashes.size).toBe(64)
    const keys = Array.from({ length: 100 }, () => JSON.stringify(randomHashKey()))
    expect(new Set(keys).size).toBe(100)
  })

  it('spreads keys over tables and places evenly', () => {
    const counts = new Uint32Array(256)
    const message = Buffer.alloc(8)
    for (let i = 0; i < 65_536; i++) {
      message.writeUInt32LE(i)
      const hash = hashInto(words(), message, 0, 8, KEY)
      for (const byte of [hash & 0xff, hash >>> 24]) (counts[byte] as number)++
    }
    expect(Math.max(...counts)).toBeLessThan(512 * 1.25)
    expect(Math.min(...counts)).toBeGreaterThan(512 * 0.75)
  })
})

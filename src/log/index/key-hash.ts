// The hash of keys: HalfSipHash-1-3, the variant with 32-bit words of SipHash (Aumasson and Bernstein, "SipHash: a fast
// short-input PRF", INDOCRYPT 2012). Keys of entries are what users send: whoever does not know the hash's own 64-bit key
// cannot prepare keys that collide (docs/decisions/0015-a-keyed-hash.md).

import { randomFillSync } from 'node:crypto'

/** What the hash is keyed with: 64 secret bits, as two words. */
export interface HashKey {
  readonly low: number
  readonly high: number
}

/** A new secret from the machine's source of randomness. */
export function randomHashKey(): HashKey {
  const [low = 0, high = 0] = randomFillSync(new Int32Array(2))
  return { low, high }
}

/**
 * Hashes the `length` bytes of a key that is given as little-endian words, the last one padded with zeros. Returns 32 bits, as
 * a signed number: an unsigned one would often be an allocation.
 */
export function hashWords(words: Int32Array, length: number, key: HashKey): number {
  let v0 = key.low
  let v1 = key.high
  let v2 = v0 ^ 0x6c796765
  let v3 = v1 ^ 0x74656462
  const wholeWords = length >> 2
  // The same round five times: loops and calls for the last four would take half as long again as all of this.
  for (let i = 0; i < wholeWords; i++) {
    const word = words[i] as number
    v3 ^= word
    v0 = (v0 + v1) | 0
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
    v0 = (v0 << 16) | (v0 >>> 16)
    v2 = (v2 + v3) | 0
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
    v0 = (v0 + v3) | 0
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
    v2 = (v2 + v1) | 0
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
    v2 = (v2 << 16) | (v2 >>> 16)
    v0 ^= word
  }
  // The last block has what is left of the bytes, and their number in its highest byte.
  const last = ((length & 3) === 0 ? 0 : (words[wholeWords] as number)) | (length << 24)
  v3 ^= last
  v0 = (v0 + v1) | 0
  v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
  v0 = (v0 << 16) | (v0 >>> 16)
  v2 = (v2 + v3) | 0
  v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
  v0 = (v0 + v3) | 0
  v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
  v2 = (v2 + v1) | 0
  v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
  v2 = (v2 << 16) | (v2 >>> 16)
  v0 ^= last
  v2 ^= 0xff
  v0 = (v0 + v1) | 0
  v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
  v0 = (v0 << 16) | (v0 >>> 16)
  v2 = (v2 + v3) | 0
  v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
  v0 = (v0 + v3) | 0
  v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
  v2 = (v2 + v1) | 0
  v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
  v2 = (v2 << 16) | (v2 >>> 16)

  v0 = (v0 + v1) | 0
  v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
  v0 = (v0 << 16) | (v0 >>> 16)
  v2 = (v2 + v3) | 0
  v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
  v0 = (v0 + v3) | 0
  v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
  v2 = (v2 + v1) | 0
  v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
  v2 = (v2 << 16) | (v2 >>> 16)

  v0 = (v0 + v1) | 0
  v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
  v0 = (v0 << 16) | (v0 >>> 16)
  v2 = (v2 + v3) | 0
  v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
  v0 = (v0 + v3) | 0
  v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
  v2 = (v2 + v1) | 0
  v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
  v2 = (v2 << 16) | (v2 >>> 16)
  return v1 ^ v3
}

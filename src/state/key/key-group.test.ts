import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { anotherCopy } from '../../../test/support/another-copy.js'
import { compareBytes } from '../../base/bytes.js'
import { bytes, utf8 } from '../codec/byte-strings.js'
import { tuple } from '../codec/composite.js'
import { uint32 } from '../codec/numbers.js'
import { keyHash } from './key-group.js'
import type * as storedKeys from './stored-key.js'
import { EncodedKey, encodeKey, groupRange, plainKey, StoredKey } from './stored-key.js'

describe('the hash of key groups', () => {
  // Vectors of MurmurHash3_x86_32 with seed 0, as they are published; docs/format/state.md repeats them.
  it.each([
    ['', 0x00000000],
    ['a', 0x3c2569b2],
    ['abc', 0xb3dd93fa],
    ['test', 0xba6bd213],
    ['hello', 0x248bfa47],
    ['hello, world', 0x149bbb7f],
    ['The quick brown fox jumps over the lazy dog', 0x2e4ff723],
  ])('K4: of %j is a published one', (text, hash) => {
    const at = Buffer.from(`..${text}..`)
    const view = new DataView(at.buffer, at.byteOffset, at.length)
    expect((keyHash(view, 2, at.length - 2) >>> 0).toString(16)).toBe(hash.toString(16))
  })

  it('K4: spreads keys evenly', () => {
    const counts = new Uint32Array(128)
    for (let i = 0; i < 25_600; i++) {
      const { group } = encodeKey(tuple(utf8, uint32), ['tenant', i], 128)
      counts[group] = (counts[group] as number) + 1
    }
    expect(Math.min(...counts)).toBeGreaterThan(130)
    expect(Math.max(...counts)).toBeLessThan(280)
  })
})

describe('a stored key', () => {
  const stored = new StoredKey(tuple(utf8, bytes), 32_768)

  it('is group, state, key and map key, in this order', () => {
    const { group, bytes: keyBytes } = encodeKey(tuple(utf8, bytes), ['a', Uint8Array.of(1)], 32_768)
    stored.set(0x0203, ['a', Uint8Array.of(1)])
    stored.append(utf8, 'm')
    const expected = Buffer.concat([
      Buffer.from([group >>> 8, group & 0xff, 2, 3]),
      keyBytes,
      Buffer.from('m\0'),
    ])
    expect(Buffer.from(stored.copy())).toEqual(expected)
    expect(stored.group).toBe(group)
    stored.set(0x0203, encodeKey(tuple(utf8, bytes), ['a', Uint8Array.of(1)], 32_768))
    expect(Buffer.from(stored.copy())).toEqual(expected.subarray(0, -2))
  })

  it('takes a key that another copy of this package has encoded', async () => {
    stored.set(0x0203, ['a', Uint8Array.of(1)])
    const expected = stored.copy()
    const other = (await anotherCopy('state/key/stored-key')) as typeof storedKeys
    const encoded = other.encodeKey(tuple(utf8, bytes), ['a', Uint8Array.of(1)], 32_768)
    expect(encoded).not.toBeInstanceOf(EncodedKey)
    stored.set(0x0203, encoded)
    expect(stored.copy()).toEqual(expected)
    expect(plainKey(encoded)).toEqual(['a', Uint8Array.of(1)])
  })

  it('lies in the range of its group, and in no other one', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.nat({ max: 32_767 }), (text, from) => {
        stored.set(1, [text, Uint8Array.of()])
        const { gte, lt } = groupRange(from, 32_768)
        const key = stored.copy()
        const isIn = compareBytes(key, gte) >= 0 && compareBytes(key, lt) < 0
        expect(isIn).toBe(stored.group >= from)
      }),
    )
  })

  it('has room for 2,048 bytes', () => {
    stored.set(1, ['x'.repeat(2_042), Uint8Array.of()])
    expect(stored.stretch.length).toBe(2_048)
    expect(() => stored.set(1, ['x'.repeat(2_043), Uint8Array.of()])).toThrow('2048')
  })
})

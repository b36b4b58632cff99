import { describe, expect, it } from 'vitest'
import { SegmentTable } from '../segment-table.js'
import { hashWords } from './key-hash.js'
import { KeyProbe, loadBytes } from './key-probe.js'

const KEY = { low: 0x03020100, high: 0x07060504 }

function hashOf(bytes: Uint8Array): number {
  const words = new Int32Array(513)
  loadBytes(words, bytes, 0, bytes.length)
  return hashWords(words, bytes.length, KEY)
}

const probe = () => new KeyProbe(new SegmentTable(Infinity), KEY)

describe('the key that is being looked for', () => {
  it('has its own hash, whatever key was loaded before it, in the same buffer or in another one', () => {
    const texts = [
      '',
      'a',
      'a\0',
      'a\0\0\0',
      'a\0\0\0\0',
      'ab',
      'abcd',
      'abcde',
      'abcdefgh',
      'abcdefgi',
      'bbcdefgh',
    ]
    const buffer = Buffer.alloc(64)
    for (const given of ['in one buffer', 'in a new one each']) {
      const loaded = probe()
      const load = (text: string) => {
        const bytes = given === 'in one buffer' ? buffer : Buffer.alloc(64)
        bytes.write(text, 3)
        loaded.load(bytes, 3, text.length)
        return loaded.hash
      }
      expect(loaded.hash, 'of no bytes').toBe(hashOf(Buffer.alloc(0)))
      for (const before of texts) {
        for (const text of texts) {
          load(before)
          expect(load(text), `'${text}' after '${before}' ${given}`).toBe(hashOf(Buffer.from(text)))
        }
      }
    }
  })

  it('is not taken for the one before where loading it has failed on the way', () => {
    const loaded = probe()
    const buffer = Buffer.from('abcdefghijkl')
    for (let i = 0; i < 20; i++) loaded.load(buffer, 0, 12)
    loaded.load(buffer, 0, 8)
    buffer.write('ABCD')
    expect(() => loaded.load(buffer, 0, 16), 'beyond the end of its view').toThrow(RangeError)
    loaded.load(buffer, 0, 8)
    expect(loaded.hash).toBe(hashOf(Buffer.from('ABCDefgh')))
  })
})

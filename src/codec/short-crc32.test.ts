import { expect, it } from 'vitest'
import { seededRandom } from '../base/random.js'
import { crc32 } from './checksum.js'
import { byteCrc32, shortCrc32 } from './short-crc32.js'

it('the sum of any stretch is that of the library, also continued from what came before', () => {
  const random = seededRandom(3)
  const bytes = Uint8Array.from({ length: 700 }, () => Math.floor(random() * 256))
  const view = new DataView(bytes.buffer)
  for (let length = 0; length < 200; length++) {
    const start = Math.floor(random() * 500)
    const before = Math.floor(random() * 2 ** 32)
    const stretch = bytes.subarray(start, start + length)
    expect(shortCrc32(view, start, length)).toBe(crc32(stretch) | 0)
    expect(byteCrc32(bytes, start, length)).toBe(crc32(stretch))
    expect(shortCrc32(view, start, length, before | 0)).toBe(crc32(stretch, before) | 0)
  }
})

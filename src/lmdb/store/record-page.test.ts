import { expect, it } from 'vitest'
import { seededRandom } from '../../base/random.js'
import { RecordPage } from './record-page.js'

it('a page has the keys and records that were added, however long, until it is cleared for others', () => {
  const random = seededRandom(11)
  const source = Uint8Array.from({ length: 200_000 }, () => Math.floor(random() * 256))
  const from = { bytes: source, view: new DataView(source.buffer) }
  const page = new RecordPage()
  for (const entries of [500, 3, 0, 70]) {
    page.clear()
    const added: [Uint8Array, Uint8Array][] = []
    for (let i = 0; i < entries; i++) {
      const [keyLength, length] = [1 + Math.floor(random() * 300), Math.floor(random() ** 8 * 150_000)]
      const [keyAt, at] = [Math.floor(random() * 1_000), Math.floor(random() * 50_000)]
      page.addKey(from, keyAt, keyLength)
      page.addRecord(from, at, length)
      added.push([source.slice(keyAt, keyAt + keyLength), source.slice(at, at + length)])
    }
    expect(page.count).toBe(entries)
    for (const [i, [key, record]] of added.entries()) {
      expect(Buffer.compare(page.copyKey(i), key)).toBe(0)
      expect(page.compareKey(i, key)).toBe(0)
      expect(page.compareKey(i, key.subarray(1)) === 0).toBe(false)
      expect(Buffer.compare(page.bytes.subarray(page.recordStart(i), page.recordEnd(i)), record)).toBe(0)
    }
  }
  expect(page.isFull).toBe(false)
  for (let i = 0; i < 10; i++) {
    page.addKey(from, 0, 1)
    page.addRecord(from, 0, 150_000)
  }
  expect(page.isFull).toBe(true)
})

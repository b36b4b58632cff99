import { describe, expect, it } from 'vitest'
import { openLog, putInto } from '../../../test/support/logs.js'
import { runs } from '../../../test/support/long.js'
import { seededRandom } from '../../base/random.js'
import { Entries } from '../entries.js'
import { SegmentTable } from '../segment-table.js'
import { KeyOrder } from './key-order.js'
import { latestAddresses } from './latest-versions.js'

const random = seededRandom(7)
const upTo = (limit: number) => Math.floor(random() * limit)

/** The addresses of distinct keys, as they were put. */
function addressesOf(keys: readonly Uint8Array[]): { segments: SegmentTable; addresses: Uint32Array } {
  const log = openLog()
  const value = new Uint8Array(5)
  for (const key of keys) putInto(log, key, value)
  const segments = SegmentTable.attach(log.share())
  return { segments, addresses: latestAddresses(segments) }
}

/** Keys of up to four parts, each a text or random bytes: they share prefixes, and some are prefixes of others. */
function mixedKey(): Buffer {
  const parts = Array.from({ length: upTo(5) }, () =>
    random() < 0.7
      ? Buffer.from(['tenant-', '\0', '\0\0\0\0', 'aaaa', 'aaab', '\xff'][upTo(6)] as string, 'latin1')
      : Buffer.from([upTo(256), upTo(4)]),
  )
  return Buffer.concat(parts)
}

const prefixes = Array.from({ length: 8 }, () =>
  Buffer.from(Array.from({ length: 5 + upTo(40) }, () => upTo(256))),
)

const shapes: Record<string, () => Buffer> = {
  mixed: mixedKey,
  'numbered texts': () => Buffer.from(`tenant-${upTo(90)}/model-${String(upTo(1e6)).padStart(12, '0')}`),
  'random bytes': () => Buffer.from(Array.from({ length: 12 }, () => upTo(256))),
  'of one letter': () => Buffer.alloc(1 + upTo(2_048), 'a'),
  'of zeros': () => Buffer.alloc(1 + upTo(2_048)),
  'behind one of a few random prefixes': () =>
    Buffer.concat([
      prefixes[upTo(prefixes.length)] as Buffer,
      mixedKey(),
      Buffer.from([upTo(256), upTo(256)]),
    ]),
  'behind a long shared prefix': () => Buffer.concat([Buffer.alloc(2_000, 'p'), mixedKey()]),
}

describe('KeyOrder', () => {
  for (const [shape, makeKey] of Object.entries(shapes)) {
    for (const count of [1, 10, 60, 200, runs(30_000, 6_000)]) {
      it(`sorts ${count} keys like compareBytes: ${shape}`, () => {
        const { segments, addresses } = addressesOf(Array.from({ length: count }, makeKey))
        const entries = new Entries(segments)
        const keys = (from: Uint32Array) => Array.from(from, (address) => entries.copyKey(address))
        const sorted = keys(addresses).sort(Buffer.compare)
        for (const _ of new KeyOrder(segments).sort(addresses));
        const wrong = keys(addresses).findIndex(
          (key, i) => Buffer.compare(key, sorted[i] as Uint8Array) !== 0,
        )
        expect(wrong).toBe(-1)
      })
    }
  }

  for (const [shape, makeKey] of Object.entries(shapes)) {
    const keys = Array.from({ length: runs(3_000, 400) }, makeKey).sort(Buffer.compare)
    const distinct = keys.filter((key, i) => i === 0 || Buffer.compare(keys[i - 1] as Buffer, key) !== 0)
    const lookedAt = (segments: SegmentTable, addresses: Uint32Array) => {
      const looked = new KeyOrder(segments).looks()
      for (let i = 0; i < addresses.length; i += 32)
        looked.look(addresses.subarray(i, i + 32), Math.min(32, addresses.length - i))
      return looked
    }

    it(`leaves keys as they lie that were looked at and lie in their order: ${shape}`, () => {
      const { segments, addresses } = addressesOf(distinct)
      const looked = lookedAt(segments, addresses)
      expect(looked.isInOrder).toBe(true)
      const sorted = addresses.slice()
      for (const _ of new KeyOrder(segments).sort(sorted, looked));
      expect(sorted).toEqual(addresses)
    })

    it(`leaves keys as they lie of which some were looked at behind the others: ${shape}`, () => {
      const { segments, addresses } = addressesOf(distinct)
      const looked = lookedAt(
        segments,
        addresses.filter((_, i) => i % 3 > 0),
      )
      const buried = addresses.filter((_, i) => i % 3 === 0)
      looked.look(buried, buried.length)
      expect(looked.isInOrder).toBe(false)
      const sorted = addresses.slice()
      // One for each slice in which keys are compared: where they are sorted, it is more.
      let pauses = 0
      for (const _ of new KeyOrder(segments).sort(sorted, looked)) pauses++
      expect(sorted).toEqual(addresses)
      expect(pauses).toBe(Math.ceil(addresses.length / 4_096))
    })

    it(`sorts keys that were looked at in two runs, each in order, which are not in order together: ${shape}`, () => {
      const middle = distinct.length >> 1
      const { segments, addresses } = addressesOf([...distinct.slice(middle), ...distinct.slice(0, middle)])
      const looked = lookedAt(segments, addresses.subarray(distinct.length - middle))
      const first = addresses.slice(0, distinct.length - middle)
      looked.look(first, first.length)
      const entries = new Entries(segments)
      for (const _ of new KeyOrder(segments).sort(addresses, looked));
      expect(Array.from(addresses, (address) => Buffer.from(entries.copyKey(address)))).toEqual(distinct)
    })

    it(`sorts keys that were looked at where only the last one lies out of order: ${shape}`, () => {
      const [first, ...others] = distinct
      const { segments, addresses } = addressesOf([...others, first as Buffer])
      const looked = lookedAt(segments, addresses)
      expect(looked.isInOrder).toBe(false)
      const entries = new Entries(segments)
      for (const _ of new KeyOrder(segments).sort(addresses, looked));
      expect(Array.from(addresses, (address) => Buffer.from(entries.copyKey(address)))).toEqual(distinct)
    })
  }

  it('sorts keys that were looked at in their order, but not as they lie', () => {
    const { segments, addresses } = addressesOf(['b', 'a', 'c'].map((key) => Buffer.from(key)))
    const [b, a, c] = addresses as unknown as [number, number, number]
    const order = new KeyOrder(segments)
    const looked = order.looks()
    looked.look(Uint32Array.of(a), 1)
    looked.look(Uint32Array.of(b, c), 2)
    for (const _ of order.sort(addresses, looked));
    expect(addresses).toEqual(Uint32Array.of(a, b, c))
  })

  it('pauses all along', () => {
    const { segments, addresses } = addressesOf(
      Array.from({ length: 30_000 }, (_, i) => Buffer.from(`key-${i}`)),
    )
    let pauses = 0
    for (const _ of new KeyOrder(segments).sort(addresses)) pauses++
    expect(pauses).toBeGreaterThan(30)
  })
})

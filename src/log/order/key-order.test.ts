import { describe, expect, it } from 'vitest'
import { runs } from '../../../test/support/long.js'
import { seededRandom } from '../../base/random.js'
import { Entries } from '../entries.js'
import { HashLog } from '../hash-log.js'
import { SegmentTable } from '../segment-table.js'
import { KeyOrder } from './key-order.js'
import { latestAddresses } from './latest-versions.js'

const random = seededRandom(7)
const upTo = (limit: number) => Math.floor(random() * limit)

/** The addresses of distinct keys, as they were put. */
function addressesOf(keys: readonly Uint8Array[]): { segments: SegmentTable; addresses: Uint32Array } {
  const log = new HashLog({
    maxBytes: Infinity,
    hashKey: { low: 1, high: 2 },
    now: () => 0,
    besideBytes: () => 0,
    onExpired: () => {},
  })
  const value = new Uint8Array(5)
  for (const key of keys) log.write(log.seek(key, 0, key.length), value, 0, value.length, Infinity)
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

  it('pauses all along', () => {
    const { segments, addresses } = addressesOf(
      Array.from({ length: 30_000 }, (_, i) => Buffer.from(`key-${i}`)),
    )
    let pauses = 0
    for (const _ of new KeyOrder(segments).sort(addresses)) pauses++
    expect(pauses).toBeGreaterThan(30)
  })
})

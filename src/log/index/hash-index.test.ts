import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../base/random.js'
import { runThrough } from '../../base/slices.js'
import { HashIndex, type SoughtKey } from './hash-index.js'
import { IndexPairs } from './index-pairs.js'

/** Addresses stand for keys here: each key has one address. */
class Sought implements SoughtKey {
  wanted = 0
  hash = 0
  place = 0
  at = 0
  matches(address: number): boolean {
    return address === this.wanted
  }
}

/** What was looked up last. */
const sought = new Sought()

function lookUp(index: HashIndex, hash: number, address: number): number {
  sought.wanted = address
  sought.hash = hash | 0
  return index.find(sought)
}

describe('HashIndex', () => {
  it('takes many entries at once, whether it was sized for them or has to split meanwhile', () => {
    for (const reserved of [0, 300_000]) {
      const index = new HashIndex()
      const pairs = new IndexPairs()
      index.reserve(reserved)
      for (let first = 1; first < 300_000; first += 50_000) {
        pairs.clear()
        for (let i = 0; i < 50_000; i++) pairs.push(Math.imul(first + i, 0x9e3779b1), first + i)
        runThrough(index.insertAll(pairs))
      }
      expect(index.count).toBe(300_000)
      for (let address = 1; address <= 300_000; address++) {
        const found = lookUp(index, Math.imul(address, 0x9e3779b1) >>> 0, address)
        if (found !== address) expect.fail(`address ${address}: ${found}`)
      }
    }
  })

  it('notes the place of a key in what is sought: another search does not disturb it', () => {
    const index = new HashIndex()
    const keys = [11, 12].map((address) =>
      Object.assign(new Sought(), { wanted: address, hash: address << 16 }),
    )
    for (const key of keys) {
      expect(index.find(key)).toBe(0)
      index.insert(key, key.wanted)
    }
    const [first, second] = keys as [Sought, Sought]
    index.find(first)
    index.find(second)
    index.replace(first, 21)
    first.wanted = 21
    expect([index.find(first), index.find(second)]).toEqual([21, 12])
  })

  it('agrees with a map through growth, splits and removals', () => {
    const random = seededRandom(1)
    const index = new HashIndex()
    const model = new Map<number, number>()
    for (let step = 0; step < 400_000; step++) {
      const address = 1 + Math.floor(random() * 200_000)
      const hash = Math.imul(address, 0x9e3779b1) >>> 0
      const found = lookUp(index, hash, address)
      if (found !== (model.has(address) ? address : 0)) expect.fail(`step ${step}`)
      if (random() < 0.7) {
        if (found === 0) index.insert(sought, address)
        model.set(address, hash)
      } else if (found !== 0) {
        index.remove(sought)
        model.delete(address)
      }
    }
    expect(index.count).toBe(model.size)
    expect(index.tables().length).toBeGreaterThan(1)
    expect([...model].filter(([address, hash]) => lookUp(index, hash, address) !== address)).toEqual([])
    const listed = index.tables().flatMap((slots) => Array.from(slots).filter((_, i) => i % 2 === 1))
    expect(new Set(listed.filter((address) => address !== 0))).toEqual(new Set(model.keys()))
  })

  it('keeps clusters of colliding hashes apart and closes gaps when some are removed', () => {
    const random = seededRandom(2)
    const index = new HashIndex()
    const hashOf = (address: number) => ((address % 7) << 16) >>> 0
    const present = new Set<number>()
    for (let step = 0; step < 20_000; step++) {
      const address = 1 + Math.floor(random() * 60)
      const found = lookUp(index, hashOf(address), address)
      expect(found !== 0).toBe(present.has(address))
      if (found === 0) {
        index.insert(sought, address)
        present.add(address)
      } else {
        index.remove(sought)
        present.delete(address)
      }
    }
    for (const address of present) expect(index.collect(hashOf(address))).toContain(address)
  })

  it('takes any number of equal hashes, among others, and finds each again', () => {
    const index = new HashIndex(256)
    const hashOf = (address: number) =>
      address % 3 === 0 ? Math.imul(address, 0x9e3779b1) >>> 0 : 0xabcd1234
    for (let address = 1; address <= 3_000; address++) {
      expect(lookUp(index, hashOf(address), address)).toBe(0)
      index.insert(sought, address)
    }
    expect(index.tables().length, 'those that differ are split all the same').toBeGreaterThan(2)
    for (let address = 1; address <= 3_000; address += 2) {
      expect(lookUp(index, hashOf(address), address)).toBe(address)
      index.remove(sought)
    }
    for (let address = 1; address <= 3_000; address++) {
      expect(lookUp(index, hashOf(address), address)).toBe(address % 2 === 0 ? address : 0)
    }
    expect(index.byteLength).toBe(index.tables().reduce((sum, { byteLength }) => sum + byteLength, 0))
  })

  it.each([
    ['equal in their low halves', (i: number) => (i << 16) >>> 0],
    ['equal in their high halves', (i: number) => i],
    ['in pairs of neighbours', (i: number) => Math.imul(i >>> 1, 0x9e3779b1) >>> 0],
  ])('takes hashes that are %s', (_, hashOf) => {
    const index = new HashIndex(64)
    for (let address = 1; address <= 2_000; address++) {
      lookUp(index, hashOf(address), address)
      index.insert(sought, address)
    }
    for (let address = 1; address <= 2_000; address++) {
      expect(lookUp(index, hashOf(address), address)).toBe(address)
    }
  })

  it('sized in advance, it does not grow', () => {
    const index = new HashIndex()
    index.reserve(100_000)
    const before = index.byteLength
    for (let address = 1; address <= 100_000; address++) {
      const hash = Math.imul(address, 0x9e3779b1) >>> 0
      lookUp(index, hash, address)
      index.insert(sought, address)
    }
    expect(index.byteLength).toBe(before)
    expect(before / 100_000).toBeLessThan(24)
  })

  it('sized for more than it holds, it keeps what it has; with many entries it is left alone', () => {
    const index = new HashIndex(64)
    const hashOf = (i: number) => Math.imul(i, 0x9e3779b1) >>> 0
    const insert = (address: number) => {
      lookUp(index, hashOf(address), address)
      index.insert(sought, address)
    }
    for (let address = 1; address <= 20; address++) insert(address)
    index.reserve(3_000)
    const sized = index.byteLength
    expect(sized).toBeGreaterThan(3_000 * 8)
    index.reserve(100)
    for (let address = 21; address <= 2_000; address++) insert(address)
    expect([index.byteLength, index.count]).toEqual([sized, 2_000])
    index.reserve(1_000_000)
    expect(index.byteLength).toBe(sized)
    for (let address = 1; address <= 2_000; address++) {
      expect(lookUp(index, hashOf(address), address)).toBe(address)
    }
  })
})

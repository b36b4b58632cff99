import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { runThrough, type SlicedWork } from '../../base/slices.js'
import { type KeyedRecords, sortedByKey, sortedByTime } from './key-order.js'

/** Keys in memory, and how often two of them were compared. */
class Keys implements KeyedRecords {
  compared = 0
  readonly #keys: readonly Buffer[]

  constructor(keys: readonly string[]) {
    this.#keys = keys.map((key) => Buffer.from(key, 'latin1'))
  }

  keyLengthAt(at: number): number {
    return this.#of(at).length
  }

  keyWordAt(at: number, skip: number): number {
    let word = 0
    for (let i = skip; i < skip + 4; i++) word = word * 256 + (this.#of(at)[i] ?? 0)
    return word
  }

  compareKeys(left: number, right: number): number {
    this.compared++
    return Buffer.compare(this.#of(left), this.#of(right))
  }

  #of(at: number): Buffer {
    return this.#keys[at] as Buffer
  }
}

const numbers = (length: number) => Uint32Array.from({ length }, (_, i) => i)

/** The most that one step of it adds to a count. */
function mostOfAStep<Result>(work: SlicedWork<Result>, count: () => number): [most: number, result: Result] {
  let most = 0
  for (;;) {
    const before = count()
    const step = work.next()
    most = Math.max(most, count() - before)
    if (step.done === true) return [most, step.value]
  }
}

describe('sorting step by step', () => {
  it('compares few keys in one step, whatever some of them have in common', () => {
    const count = 60_000
    const names = Array.from(
      { length: count },
      (_, i) => `tenant-${i % 2}/${'u'.repeat(12)}${(i * 31) % count}`,
    )
    const keys = new Keys(names)
    const [most, order] = mostOfAStep(sortedByKey(keys, numbers(count)), () => keys.compared)
    expect(most).toBeLessThan(50_000)
    expect(Array.from(order, (at) => names[at])).toEqual(names.toSorted())
  })

  it.each([256, 700, 2_047, 2_048, 5_000])('puts %d keys in their order', (count) => {
    const names = Array.from({ length: count }, (_, i) => {
      const mixed = Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(count, 0x85ebca6b)
      return String.fromCharCode(...[0, 8, 16, 24, 3, 11, 19].map((shift) => (mixed >>> shift) & 0xff))
    })
    const order = runThrough(sortedByKey(new Keys(names), numbers(count)))
    expect(Array.from(order, (at) => names[at])).toEqual(names.toSorted())
  })

  it('ends where many keys are the same', () => {
    const names = Array.from({ length: 9_000 }, (_, i) => (i % 3 === 0 ? 'x' : 'the same for many'))
    const order = runThrough(sortedByKey(new Keys(names), numbers(names.length)))
    expect(Array.from(order, (at) => names[at])).toEqual(names.toSorted())
  })

  it('looks at few times in one step, and leaves what is due at the same time in its order', () => {
    const count = 60_000
    const times = Array.from({ length: count }, (_, i) => ((i * 7_919) % 5_003) * 1_000_003)
    let looks = 0
    const records = {
      dueAt: (at: number) => {
        looks++
        return times[at] as number
      },
    }
    const [most, order] = mostOfAStep(sortedByTime(records, numbers(count)), () => looks)
    expect(most).toBeLessThan(50_000)
    const expected = Array.from({ length: count }, (_, i) => i)
    expect([...order]).toEqual(expected.sort((a, b) => (times[a] as number) - (times[b] as number) || a - b))
  })

  it('knows times of all kinds', () => {
    const time = fc.oneof(
      fc.integer({ min: -10, max: 10 }),
      fc.maxSafeInteger(),
      fc.constant(Infinity),
      fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
    )
    fc.assert(
      fc.property(fc.array(time, { minLength: 256, maxLength: 300 }), (times) => {
        const order = runThrough(sortedByTime({ dueAt: (at) => times[at] as number }, numbers(times.length)))
        const compare = (a: number, b: number) => (a === b ? 0 : a < b ? -1 : 1)
        expect(Array.from(order, (at) => times[at])).toEqual(times.toSorted(compare))
      }),
      { numRuns: 30 },
    )
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { runThrough } from '../../base/slices.js'
import { Slot } from '../../base/slot.js'
import { IS_DEAD, IS_DIRTY, KeyTable, TableKey } from './key-table.js'

const encoder = new TextEncoder()
const key = new TableKey()
const slot = new Slot()

function keyOf(name: string): TableKey {
  const bytes = encoder.encode(`..${name}`)
  return key.set(bytes, 2, bytes.length - 2)
}

function shown(table: KeyTable): Map<string, string> {
  const all = new Map<string, string>()
  for (let entry = table.first(); entry !== 0; entry = table.next(entry)) {
    const { bytes, offset, length } = table.keyOf(entry, slot)
    const name = Buffer.from(bytes.subarray(offset, offset + length)).toString()
    const start = table.accumulatorAt(entry)
    const payload = table.memoryOf(entry).bytes.subarray(start, start + table.accumulatorBytes(entry))
    expect(all.has(name)).toBe(false)
    expect(table.find(keyOf(name))).toBe(entry)
    all.set(name, Buffer.from(payload).toString('latin1'))
  }
  return all
}

function store(table: KeyTable, name: string, text: string): void {
  const found = table.find(keyOf(name))
  const entry =
    found === 0 ? table.add(keyOf(name), text.length) : table.resizeAccumulator(found, text.length)
  table.memoryOf(entry).bytes.set(Buffer.from(text, 'latin1'), table.accumulatorAt(entry))
}

describe('a table of keys', () => {
  it('agrees with a map, however large its keys and payloads are, and begins anew', () => {
    const lengths = fc.oneof({ weight: 20, arbitrary: fc.nat(40) }, fc.nat(2_000), fc.constant(300_000))
    const step = fc.tuple(fc.nat(60), lengths)
    fc.assert(
      fc.property(fc.array(fc.array(step, { maxLength: 60 }), { maxLength: 3 }), (rounds) => {
        const table = new KeyTable()
        for (const round of rounds) {
          const expected = new Map<string, string>()
          for (const [i, length] of round) {
            const name = `${'k'.repeat(i)}${i}`
            const text = String.fromCharCode(i + 1).repeat(length)
            store(table, name, text)
            expected.set(name, text)
          }
          expect(shown(table)).toEqual(expected)
          runThrough(table.clear())
          expect(shown(table).size).toBe(0)
        }
      }),
      { numRuns: 50 },
    )
  })

  it('has every key of many, each split of its index and each chunk of its memory later, and again once it was cleared', () => {
    const table = new KeyTable()
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 30_000; i++) {
        const entry = table.add(keyOf(`${i}`), 8)
        table.memoryOf(entry).view.setFloat64(table.accumulatorAt(entry), i + round)
      }
      expect(table.count).toBe(30_000)
      let wrong = 0
      for (let i = 0; i < 30_000; i++) {
        const entry = table.find(keyOf(`${i}`))
        if (entry === 0 || table.memoryOf(entry).view.getFloat64(table.accumulatorAt(entry)) !== i + round) {
          wrong++
        }
      }
      expect(wrong).toBe(0)
      expect(table.find(keyOf('30000'))).toBe(0)
      let seen = 0
      for (let entry = table.first(); entry !== 0; entry = table.next(entry)) seen++
      expect(seen).toBe(30_000)
      expect([...table.clear()].length).toBeGreaterThan(0)
    }
  })

  it('leaves out the dead when it is made anew, and keeps their flags to the others', () => {
    const table = new KeyTable()
    for (let i = 0; i < 5_000; i++) {
      store(table, `${i}`, `value ${i}`)
      if (i % 3 === 0) table.setDead(table.find(keyOf(`${i}`)), true)
      if (i % 3 === 1) table.set(table.find(keyOf(`${i}`)), IS_DIRTY, true)
    }
    expect([...table.compact()].length).toBeGreaterThan(0)
    expect(table.dead).toBe(0)
    const all = shown(table)
    expect(all.size).toBe(3_333)
    expect(all.get('4')).toBe('value 4')
    expect(table.has(table.find(keyOf('4')), IS_DIRTY)).toBe(true)
    expect(table.has(table.find(keyOf('5')), IS_DIRTY)).toBe(false)
    expect(table.has(table.find(keyOf('5')), IS_DEAD)).toBe(false)
  })

  it('has the keys of a table that shares them at the same places as its other copies, and finds the rest by key', () => {
    const names = fc.array(fc.string({ unit: 'binary-ascii', maxLength: 6 }), { maxLength: 80 })
    fc.assert(
      fc.property(names, names, names, fc.boolean(), (shared, ones, others, areShared) => {
        const keys = new KeyTable()
        for (const name of shared) store(keys, name, 'nothing')
        if (areShared) keys.shareKeys()
        const [one, other] = [ones, others].map((more) => {
          const copy = new KeyTable()
          runThrough(copy.copyFrom(keys))
          expect(copy.sharesWith(keys)).toBe(areShared)
          for (const name of more) store(copy, name, name.padEnd(7))
          return copy
        }) as [KeyTable, KeyTable]
        const inOther = shown(other)
        expect([...inOther.keys()].sort()).toEqual([...new Set([...shared, ...others])].sort())
        for (let entry = one.first(); entry !== 0; entry = one.next(entry)) {
          one.loadKey(entry, key)
          expect(other.findOf(one, entry)).toBe(other.find(key))
          if (areShared && one.isShared(entry)) expect(other.find(key)).toBe(entry)
        }
        // What was copied is as it was.
        for (const text of shown(keys).values()) expect(text).toBe('nothing')
        runThrough(one.clear())
        expect(one.sharesKeys).toBe(false)
        expect(one.first()).toBe(0)
      }),
      { numRuns: 200 },
    )
  })
})

import { describe, expect, it } from 'vitest'
import { EVERYTHING, keyInterval } from '../backend/scan-range.js'
import { WriteBatch } from '../backend/write-batch.js'
import {
  deletedRanges,
  lexBounds,
  MAX_STORED_VALUE_BYTES,
  partArguments,
  partsOf,
} from './batch-arguments.js'
import { deadlineOf, isStored, partKeys, partOf, storedValue, valueOf } from './layout.js'

const bytes = (...values: number[]) => Uint8Array.from(values)
const neverExpires = () => Infinity

describe('where entries lie on a Redis server', () => {
  it('is one hash tag, or one for each key group', () => {
    expect(partKeys('usage', 0, 0, '').data).toBe('{usage}:data')
    expect(partKeys('usage', 7, 128, 'me')).toEqual({
      data: '{usage:7}:data',
      meta: '{usage:7}:meta',
      due: '{usage:7}:due',
      order: '{usage:7}:order',
      writes: '{usage:7}:writes:me',
    })
  })

  it('has the parts in the order of keys', () => {
    const keys = [
      bytes(),
      bytes(0),
      bytes(0, 1),
      bytes(0, 1, 0),
      bytes(0, 2),
      bytes(0, 127, 255),
      bytes(1),
      bytes(255, 255),
    ]
    expect(keys.map((key) => partOf(key, 128))).toEqual([0, 0, 1, 1, 2, 127, 128, 128])
    expect(keys.map((key) => partOf(key, 0))).toEqual([0, 0, 0, 0, 0, 0, 0, 0])
  })

  it('a range reaches into the parts that may have keys of it', () => {
    expect(partsOf(EVERYTHING, 3)).toEqual([0, 1, 2, 3])
    expect(partsOf(keyInterval({ prefix: bytes(0, 1) }), 3)).toEqual([1])
    expect(partsOf(keyInterval({ gte: bytes(0, 1, 9), lte: bytes(0, 2) }), 3)).toEqual([1, 2])
    expect(partsOf(keyInterval({ gte: bytes(9) }), 3)).toEqual([3])
  })

  it('a value comes back as it was, with its deadline', () => {
    for (const deadline of [Infinity, 0, 1_700_000_000_123, 2 ** 52 + 1]) {
      const stored = storedValue(bytes(1, 2, 3), deadline)
      expect(isStored(stored)).toBe(true)
      expect(deadlineOf(stored)).toBe(deadline)
      expect([...valueOf(stored)]).toEqual([1, 2, 3])
    }
    expect(isStored(bytes(2, 1))).toBe(false)
    expect(isStored(bytes(1, 1))).toBe(false)
    expect(isStored(bytes())).toBe(false)
  })
})

describe('a batch as arguments of its script', () => {
  const text = (batch: WriteBatch, keyGroups = 0, found?: Uint8Array[][]) =>
    partArguments({ cursor: batch.cursor(), expiry: neverExpires }, keyGroups, found).map(
      ({ part, expected, runs }) => ({
        part,
        expected: expected.map(String),
        runs: runs.map((argument) => String(argument).replaceAll('\0', '')),
      }),
    )

  it('has runs of one kind, in the order of the batch', () => {
    const batch = new WriteBatch()
      .expect(Buffer.from('a'), Buffer.from('1'))
      .put(Buffer.from('a'), Buffer.from('2'))
      .put(Buffer.from('b'), Buffer.from('3'))
      .delete(Buffer.from('c'))
      .expect(Buffer.from('d'), undefined)
      .put(Buffer.from('a'), Buffer.from('4'))
    expect(text(batch)).toEqual([
      {
        part: 0,
        expected: ['a', '=1', 'd', ''],
        runs: ['p', '2', 'a', '2', 'b', '3', 'd', '1', 'c', 'p', '1', 'a', '4'],
      },
    ])
  })

  it('has ranges for the server, or the keys that were found and those that the batch has put before', () => {
    const batch = new WriteBatch()
      .put(Buffer.from('b1'), Buffer.from('1'))
      .deleteRange({ prefix: Buffer.from('b') })
      .put(Buffer.from('b2'), Buffer.from('2'))
    expect(deletedRanges(batch.cursor())).toHaveLength(1)
    expect(text(batch)[0]?.runs).toEqual(['p', '1', 'b1', '1', 'r', '[b', '(c', 'p', '1', 'b2', '2'])
    expect(text(batch, 0, [[Buffer.from('b0')]])[0]?.runs).toEqual([
      'p',
      '1',
      'b1',
      '1',
      'd',
      '2',
      'b0',
      'b1',
      'p',
      '1',
      'b2',
      '2',
    ])
    expect(text(new WriteBatch().deleteRange({}))[0]?.runs).toEqual(['c'])
    expect(lexBounds(EVERYTHING).map(String)).toEqual(['[', '+'])
  })

  it('is one for each part that it touches', () => {
    const batch = new WriteBatch()
      .put(bytes(0, 2, 65), bytes(66))
      .delete(bytes(0, 1, 65))
      .delete(bytes(9, 9))
    expect(text(batch, 4).map(({ part }) => part)).toEqual([1, 2, 4])
  })

  it('with a value above the limit is INVALID_ARGUMENT', () => {
    const batch = new WriteBatch().put(bytes(1), new Uint8Array(MAX_STORED_VALUE_BYTES + 1))
    expect(() => text(batch)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})

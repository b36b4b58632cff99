import { describe, expect, it } from 'vitest'
import { openLog, putInto, removeFrom } from '../../../test/support/logs.js'
import { runThrough } from '../../base/slices.js'
import type { HashLog } from '../hash-log.js'
import { latestBetween } from './keys-between.js'
import { SortedKeys } from './sorted-keys.js'

const bytes = (text: string) => Buffer.from(text)

function filled(count: number): HashLog {
  const log = openLog()
  for (let i = 0; i < count; i++) put(log, `key-${i}`)
  return log
}

function put(log: HashLog, key: string): void {
  putInto(log, bytes(key), bytes('value'))
}

function remove(log: HashLog, key: string): void {
  removeFrom(log, bytes(key))
}

function keysBetween(log: HashLog, from: string, until: string | undefined): string[] {
  const found = latestBetween(log, bytes(from), until === undefined ? undefined : bytes(until))
  return Array.from(found, (address) => Buffer.from(log.entries.copyKey(address)).toString()).sort()
}

describe('latestBetween', () => {
  it('does not sort keys whose order nobody has asked for', () => {
    const log = filled(10_000)
    expect(keysBetween(log, 'key-99', 'key-9990')).toHaveLength(101)
    expect(keysBetween(log, 'key-9998', undefined)).toEqual(['key-9998', 'key-9999'])
    expect(log.ordered.byteLength).toBe(0)
  })

  it('finds each key once, whether the order has it, knows it is gone, or has not heard of it', () => {
    const log = filled(100)
    runThrough(log.ordered.build())
    for (const key of ['key-5', 'key-51', 'key-52']) remove(log, key)
    put(log, 'key-51')
    remove(log, 'key-51')
    put(log, 'key-51')
    put(log, 'key-555')
    const before = log.ordered.byteLength
    expect(keysBetween(log, 'key-5', 'key-56')).toEqual([
      'key-50',
      'key-51',
      'key-53',
      'key-54',
      'key-55',
      'key-555',
    ])
    expect(log.ordered.byteLength).toBe(before)
    const building = log.ordered.build()
    building.next()
    expect(keysBetween(log, 'key-5', 'key-51')).toEqual(['key-50'])
    building.return(SortedKeys.over([]))
  })

  it('merges new keys that it has looked at again and again, which deletions of ranges between puts do', () => {
    const log = filled(1_000)
    runThrough(log.ordered.build())
    for (let i = 0; i < 200; i++) put(log, `new-${i}`)
    expect(keysBetween(log, 'key-99', 'key-999')).toHaveLength(10)
    expect(log.ordered.ready).toBeUndefined()
    for (let i = 0; i < 1_000; i++) keysBetween(log, 'key-99', 'key-999')
    expect(log.ordered.ready).toBeDefined()
    expect(keysBetween(log, 'new-19', 'new-2')).toHaveLength(11)
    put(log, 'new-195')
    put(log, 'new-1955')
    expect(keysBetween(log, 'new-19', 'new-2')).toHaveLength(12)
  })
})

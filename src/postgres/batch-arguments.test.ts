import { describe, expect, it } from 'vitest'
import { WriteBatch } from '../backend/write-batch.js'
import { batchArguments } from './batch-arguments.js'
import { byteaArray, float8Array } from './binary-arrays.js'
import { bytesOf } from './postgres-rows.js'

const bytes = (text: string) => new Uint8Array(Buffer.from(text))
const argumentsOf = (batch: WriteBatch) =>
  batchArguments({ cursor: batch.cursor(), expiry: (ttlMs = Infinity) => ttlMs })

describe('arrays as PostgreSQL takes them in binary', () => {
  it('have a head, lengths in front of elements, and -1 for NULL', () => {
    const bytea = byteaArray([bytes('ab'), undefined, bytes('')])
    expect(bytea.toString('hex')).toBe('0000000100000001000000110000000300000001000000026162ffffffff00000000')
    expect(float8Array([1, Infinity]).toString('hex')).toBe(
      '0000000100000001000002bd0000000200000001000000083ff0000000000000ffffffff',
    )
    expect(byteaArray([]).toString('hex')).toBe('000000000000000000000011')
  })
})

describe('a batch as the arguments of one statement', () => {
  it('has the last operation on each key alone: a statement cannot change a row twice', () => {
    const batch = new WriteBatch().put(bytes('a'), bytes('1')).put(bytes('a'), bytes('2'), { ttlMs: 5 })
    batch.delete(bytes('b')).put(bytes('c'), bytes('3')).delete(bytes('c'))
    expect(argumentsOf(batch)).toEqual([
      byteaArray([bytes('a')]),
      byteaArray([bytes('2')]),
      float8Array([5]),
      byteaArray([bytes('b'), bytes('c')]),
      null,
      null,
      null,
      null,
    ])
  })

  it('leaves out what a later range of it removes, and keeps what is put after that', () => {
    const batch = new WriteBatch().put(bytes('k1'), bytes('1')).put(bytes('other'), bytes('2'))
    batch.deleteRange({ prefix: bytes('k') }).put(bytes('k2'), bytes('3'))
    const [keys, values, expires, deleted, from, until] = argumentsOf(batch)
    expect([keys, values, expires, deleted]).toEqual([
      byteaArray([bytes('other'), bytes('k2')]),
      byteaArray([bytes('2'), bytes('3')]),
      null,
      null,
    ])
    expect([from, until]).toEqual([byteaArray([bytes('k')]), byteaArray([bytes('l')])])
  })

  it('has expectations apart, with NULL for absence', () => {
    const batch = new WriteBatch().expect(bytes('a'), bytes('1')).expect(bytes('b'), undefined)
    const args = argumentsOf(batch)
    expect(args.slice(6)).toEqual([byteaArray([bytes('a'), bytes('b')]), byteaArray([bytes('1'), undefined])])
    expect(args.slice(0, 6)).toEqual([null, null, null, null, null, null])
  })
})

describe('what a client gives for bytes', () => {
  it('is the caller’s own Uint8Array, whose slice is a copy', () => {
    const buffer = Buffer.from('ab')
    expect(bytesOf(buffer).constructor).toBe(Uint8Array)
    expect(() => bytesOf('\\x6162')).toThrow(expect.objectContaining({ code: 'INCOMPATIBLE' }))
  })
})

import { describe, expect, it } from 'vitest'
import { EntryBlockBuilder, EntryBlockCursor } from '../../backend/entry-block.js'
import { RecordWriter, recordExpiry } from './record.js'
import { openBlockPreparer, RecordBlockCursor } from './record-block.js'

const TIME_MS = 1_700_000_000_000

interface Kept {
  readonly key: string
  readonly expiresAtMs: number
  readonly record: string
}

function blockOf(entries: readonly (readonly [string, Uint8Array, number])[]) {
  const builder = new EntryBlockBuilder(1024)
  for (const [key, value, expiresAtMs] of entries) builder.add(Buffer.from(key), value, expiresAtMs)
  return builder.take()
}

const sample = blockOf([
  ['a', Buffer.from('value'), Infinity],
  ['b', Buffer.alloc(0), TIME_MS],
  ['c'.repeat(200), Buffer.alloc(900, 'c'), Infinity],
  ['d', Buffer.alloc(5_000, 'd'), TIME_MS + 0.5],
  ['e', Buffer.alloc(2_000_000, 'e'), Infinity],
])

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

describe.each(['none', 'lz4'] as const)(
  'a block whose records are made elsewhere, compression %s',
  (compression) => {
    function preparedOf(laterMs: number): Kept[] {
      const bytes = openBlockPreparer({ compression }, { laterMs }).prepare(sample)
      const cursor = new RecordBlockCursor(bytes)
      const kept: Kept[] = []
      while (cursor.next()) {
        const { keyStart, keyLength, expiresAtMs, record } = cursor
        const key = hex(cursor.bytes.subarray(keyStart, keyStart + keyLength))
        kept.push({ key, expiresAtMs, record: hex(record.subarray(record.start, record.end)) })
      }
      return kept
    }

    it('has the records that the writer of the store makes', () => {
      const records = new RecordWriter(compression)
      const cursor = new EntryBlockCursor(sample.bytes)
      const expected: Kept[] = []
      while (cursor.next()) {
        cursor.expiresAtMs = Math.ceil(cursor.expiresAtMs)
        const record = records.encode(cursor)
        expected.push({ key: hex(cursor.key()), expiresAtMs: recordExpiry(record), record: hex(record) })
      }
      expect(preparedOf(0)).toEqual(expected)
      expect(expected.map(({ expiresAtMs }) => expiresAtMs)).toEqual([
        Infinity,
        TIME_MS,
        Infinity,
        TIME_MS + 1,
        Infinity,
      ])
    })

    it('has what expires expire later where that is asked for', () => {
      const times = preparedOf(1_000).map(({ expiresAtMs }) => expiresAtMs)
      expect(times).toEqual([Infinity, TIME_MS + 1_000, Infinity, TIME_MS + 1_001, Infinity])
    })
  },
)

it('takes no more memory than what it made by much, as that is counted while it waits for the writer', () => {
  const compressed = openBlockPreparer({ compression: 'lz4' }, { laterMs: 0 }).prepare(sample)
  expect(compressed.length).toBeLessThan(sample.bytes.length / 50)
  expect(compressed.buffer.byteLength).toBeLessThanOrEqual(compressed.length * 2)
  const plain = openBlockPreparer({ compression: 'none' }, { laterMs: 0 }).prepare(sample)
  expect(plain.buffer.byteLength).toBeLessThanOrEqual(plain.length * 2)
})

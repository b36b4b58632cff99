import { expect, it } from 'vitest'
import { type CommittedBatch, committedMessages } from './committed-messages.js'

const TRANSACTIONAL = 0x10
const CONTROL = 0x20

function batch(
  firstOffset: number,
  producerId: number,
  attributes: number,
  values: readonly string[],
): CommittedBatch {
  return {
    firstOffset: BigInt(firstOffset),
    lastOffsetDelta: values.length - 1,
    firstTimestamp: 1_000n,
    attributes,
    producerId: BigInt(producerId),
    records: values.map((value, i) => ({
      offsetDelta: i,
      timestampDelta: BigInt(i),
      key: null,
      value: Buffer.from(value),
      headers: [[Buffer.from('h'), Buffer.from(value)]],
    })),
  }
}

const read = (
  from: number,
  batches: readonly CommittedBatch[],
  aborted: readonly (readonly [number, number])[] = [],
) => {
  const { messages, next } = committedMessages({
    topic: 't',
    partition: 0,
    from,
    batches,
    aborted: aborted.map(([producerId, firstOffset]) => ({
      producerId: BigInt(producerId),
      firstOffset: BigInt(firstOffset),
    })),
  })
  return { values: messages.map(({ offset, value }) => `${offset}${Buffer.from(value ?? [])}`), next }
}

it('messages before the offset that was asked for are not given', () => {
  expect(read(1, [batch(0, -1, 0, ['a', 'b', 'c'])])).toEqual({ values: ['1b', '2c'], next: 3 })
  expect(read(5, [])).toEqual({ values: [], next: 5 })
})

it('what was aborted is not given, of interleaved transactions and of several of one producer', () => {
  const batches = [
    batch(0, 1, TRANSACTIONAL, ['a', 'b']),
    batch(2, 2, TRANSACTIONAL, ['c']),
    batch(3, -1, 0, ['d']),
    batch(4, 1, TRANSACTIONAL | CONTROL, ['abort']),
    batch(5, 1, TRANSACTIONAL, ['e']),
    batch(6, 2, TRANSACTIONAL | CONTROL, ['commit']),
    batch(7, 1, TRANSACTIONAL | CONTROL, ['commit']),
    batch(8, 1, TRANSACTIONAL, ['f']),
    batch(9, 1, TRANSACTIONAL | CONTROL, ['abort']),
  ]
  const aborted = [
    [1, 8],
    [1, 0],
  ] as const
  expect(read(0, batches, aborted)).toEqual({ values: ['2c', '3d', '5e'], next: 10 })
  expect(read(5, batches.slice(4), [[1, 8]])).toEqual({ values: ['5e'], next: 10 })
})

it('a message has its time, and its headers by name', () => {
  const { messages } = committedMessages({
    topic: 't',
    partition: 3,
    from: 0,
    batches: [batch(0, -1, 0, ['a', 'b'])],
    aborted: [],
  })
  expect(messages[1]).toMatchObject({ topic: 't', partition: 3, timestampMs: 1_001, key: undefined })
  expect(messages[1]?.headers).toEqual({ h: Buffer.from('b') })
})

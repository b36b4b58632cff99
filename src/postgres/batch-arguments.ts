// A batch as one statement takes it. Its operations happen in turn; a statement does each kind at once: first what is expected, then the
// ranges that are removed, then the keys, then what is put. That comes to the same, since of each key only its last operation is sent,
// and what a range removes of what the batch itself has put before is taken out here.

import type { EngineBatch } from '../backend/facade/engines.js'
import { isInInterval, type KeyStretch } from '../backend/scan-range.js'
import { OperationKind } from '../backend/write-batch.js'
import { bytea, byteaArray, float8Array } from './binary-arrays.js'

interface LastOperation {
  readonly key: Uint8Array
  /** `undefined`: the key is deleted. */
  readonly value: Uint8Array | undefined
  readonly expiresAtMs: number
}

/** What a statement is given of a batch, in the order of the function's arguments. */
export type BatchArguments = (Buffer | null)[]

export function batchArguments({ cursor, expiry }: EngineBatch): BatchArguments {
  const last = new Map<string, LastOperation>()
  const ranges: KeyStretch[] = []
  const expectedKeys: Uint8Array[] = []
  const expectedValues: (Uint8Array | undefined)[] = []
  cursor.rewind()
  while (cursor.next()) {
    const { kind } = cursor
    if (kind === OperationKind.EXPECT_VALUE || kind === OperationKind.EXPECT_ABSENT) {
      expectedKeys.push(cursor.key())
      expectedValues.push(kind === OperationKind.EXPECT_VALUE ? cursor.value() : undefined)
    } else if (kind === OperationKind.DELETE_RANGE) {
      const range = cursor.interval()
      ranges.push(range)
      for (const [name, { key }] of last) if (isInInterval(key, range)) last.delete(name)
    } else {
      const key = cursor.key()
      const isPut = kind === OperationKind.PUT
      const value = isPut ? cursor.value() : undefined
      last.set(bytea(key).toString('latin1'), {
        key,
        value,
        expiresAtMs: isPut ? expiry(cursor.ttlMs) : Infinity,
      })
    }
  }
  return argumentsOf([...last.values()], { ranges, expectedKeys, expectedValues })
}

interface BesideOperations {
  readonly ranges: readonly KeyStretch[]
  readonly expectedKeys: readonly Uint8Array[]
  readonly expectedValues: readonly (Uint8Array | undefined)[]
}

function argumentsOf(
  operations: readonly LastOperation[],
  { ranges, expectedKeys, expectedValues }: BesideOperations,
): BatchArguments {
  const puts = operations.filter(({ value }) => value !== undefined)
  const deletes = operations.filter(({ value }) => value === undefined)
  const expires = puts.some(({ expiresAtMs }) => expiresAtMs !== Infinity)
  const keys = (of: readonly LastOperation[]) => byteaArray(of.map(({ key }) => key))
  return [
    puts.length === 0 ? null : keys(puts),
    puts.length === 0 ? null : byteaArray(puts.map(({ value }) => value)),
    expires ? float8Array(puts.map(({ expiresAtMs }) => expiresAtMs)) : null,
    deletes.length === 0 ? null : keys(deletes),
    ranges.length === 0 ? null : byteaArray(ranges.map(({ from }) => from)),
    ranges.length === 0 ? null : byteaArray(ranges.map(({ until }) => until)),
    expectedKeys.length === 0 ? null : byteaArray(expectedKeys),
    expectedKeys.length === 0 ? null : byteaArray(expectedValues),
  ]
}

/** The removal of one range, as a batch has it. */
export function rangeArguments({ from, until }: KeyStretch): BatchArguments {
  return argumentsOf([], { ranges: [{ from, until }], expectedKeys: [], expectedValues: [] })
}

/** Nothing, for a write that only sweeps. */
export function noArguments(): BatchArguments {
  return argumentsOf([], { ranges: [], expectedKeys: [], expectedValues: [] })
}

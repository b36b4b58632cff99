import { type BatchCursor, OperationKind } from '../../backend/write-batch.js'
import { compareBytes, copyBytes } from '../../base/bytes.js'
import { StateError } from '../../base/errors.js'
import { entryUnits } from '../../log/layout.js'
import type { LmdbEngine } from '../lmdb-engine.js'

/** What a batch did, for the counters. */
export interface BatchTally {
  puts: number
  deletes: number
  bytesWritten: number
}

/** Throws `CONCURRENT_MODIFICATION` with the first key that does not hold what the batch expects. */
export function assertExpectations(engine: LmdbEngine, cursor: BatchCursor): void {
  cursor.rewind()
  while (cursor.next()) {
    if (cursor.kind !== OperationKind.EXPECT_VALUE && cursor.kind !== OperationKind.EXPECT_ABSENT) continue
    const key = cursor.key()
    const value = engine.read(key, false)
    const expected =
      cursor.kind === OperationKind.EXPECT_ABSENT
        ? undefined
        : cursor.bytes.subarray(cursor.valueStart, cursor.valueStart + cursor.valueLength)
    const holds =
      value === undefined || expected === undefined ? value === expected : compareBytes(value, expected) === 0
    if (!holds) throw new StateError('CONCURRENT_MODIFICATION', { key: copyBytes(key) })
  }
}

/** Key and value bytes of a batch's puts. */
export function putBytes(cursor: BatchCursor): number {
  let bytes = 0
  cursor.rewind()
  while (cursor.next()) {
    if (cursor.kind === OperationKind.PUT) bytes += cursor.keyLength + cursor.valueLength
  }
  return bytes
}

/** Applies a batch in one step; `expiry` gives the time at which something put with a time to live expires. */
export function applyBatch(
  engine: LmdbEngine,
  cursor: BatchCursor,
  expiry: (ttlMs: number | undefined) => number,
): BatchTally {
  const tally = { puts: 0, deletes: 0, bytesWritten: 0 }
  engine.buffer.active.log.inOneStep(unitsAtMost(cursor), () => {
    cursor.rewind()
    while (cursor.next()) {
      const { kind, bytes, keyStart, keyLength, valueStart, valueLength } = cursor
      if (kind === OperationKind.PUT) {
        engine.put(bytes, keyStart, keyLength, bytes, valueStart, valueLength, expiry(cursor.ttlMs))
        tally.puts++
        tally.bytesWritten += keyLength + valueLength
      } else if (kind === OperationKind.DELETE) {
        engine.remove(bytes, keyStart, keyLength)
        tally.deletes++
      }
    }
  })
  return tally
}

/** What each operation may append to the log, so that none of them can run out of memory half-way. */
function unitsAtMost(cursor: BatchCursor): number[] {
  const units: number[] = []
  cursor.rewind()
  while (cursor.next()) {
    if (cursor.kind === OperationKind.PUT) units.push(entryUnits(cursor.keyLength, cursor.valueLength, true))
    else if (cursor.kind === OperationKind.DELETE) units.push(entryUnits(cursor.keyLength, 0, false))
  }
  return units
}

import { isInInterval, type KeyInterval } from '../backend/scan-range.js'
import { type BatchCursor, OperationKind } from '../backend/write-batch.js'
import { StateError } from '../base/errors.js'
import type { HashLog } from '../log/hash-log.js'
import { entryUnits } from '../log/layout.js'
import { latestBetween } from '../log/order/keys-between.js'

/** Throws `CONCURRENT_MODIFICATION` with the first key that does not hold what the batch expects. */
export function checkExpectations(log: HashLog, cursor: BatchCursor): void {
  // A batch of another copy of this package may be of an older version, which does not say.
  if (cursor.expects === false) return
  cursor.rewind()
  while (cursor.next()) {
    if (cursor.kind !== OperationKind.EXPECT_VALUE && cursor.kind !== OperationKind.EXPECT_ABSENT) continue
    const address = log.seek(cursor.bytes, cursor.keyStart, cursor.keyLength)
    const holds = log.isAlive(address)
      ? cursor.kind === OperationKind.EXPECT_VALUE &&
        log.entries.hasValue(address, cursor.bytes, cursor.valueStart, cursor.valueLength)
      : cursor.kind === OperationKind.EXPECT_ABSENT
    if (!holds) throw new StateError('CONCURRENT_MODIFICATION', { key: cursor.key().slice() })
  }
}

/**
 * What each operation of a batch would append, in units of the log, if every put appended; deletes append tombstones
 * where a snapshot is open, one for each key that a range has before the batch (what the batch itself has put there takes none).
 * Looks at no other entry.
 */
export function unitsAtMost(log: HashLog, cursor: BatchCursor, defaultTtlMs: number): number[] {
  const units: number[] = []
  const tombstones = log.openSnapshots > 0
  cursor.rewind()
  while (cursor.next()) {
    if (cursor.kind === OperationKind.PUT) {
      const expires = (cursor.ttlMs ?? defaultTtlMs) !== Infinity
      units.push(entryUnits(cursor.keyLength, cursor.valueLength, expires))
    } else if (cursor.kind === OperationKind.DELETE && tombstones) {
      units.push(entryUnits(cursor.keyLength, 0, false))
    } else if (cursor.kind === OperationKind.DELETE_RANGE && tombstones) {
      addTombstonesOf(log, cursor.interval(), units)
    }
  }
  return units
}

function addTombstonesOf(log: HashLog, { from, until }: KeyInterval, units: number[]): void {
  for (const address of latestBetween(log, from, until)) {
    units.push(entryUnits(log.entries.keyLength(address), 0, false))
  }
}

/**
 * The same, less the puts that will overwrite in place: those whose key no earlier operation of the batch touches and
 * whose entry has room. Looks at every entry.
 */
export function unitsNeeded(log: HashLog, cursor: BatchCursor, defaultTtlMs: number): number[] {
  const units: number[] = []
  const tombstones = log.openSnapshots > 0
  const touched = new Set<string>()
  const removed: KeyInterval[] = []
  cursor.rewind()
  while (cursor.next()) {
    const { kind, keyLength, valueLength } = cursor
    if (kind === OperationKind.DELETE_RANGE) {
      const interval = cursor.interval()
      removed.push(interval)
      if (tombstones) addTombstonesOf(log, interval, units)
      continue
    }
    if (kind !== OperationKind.PUT && kind !== OperationKind.DELETE) continue
    // Behind a letter: strings of digits are hashed by V8 without its secret, and keys are what users send.
    const key = `k${Buffer.from(cursor.key()).toString('latin1')}`
    const first = !touched.has(key) && !removed.some((interval) => isInInterval(cursor.key(), interval))
    touched.add(key)
    if (kind === OperationKind.DELETE) {
      if (tombstones) units.push(entryUnits(keyLength, 0, false))
      continue
    }
    const expires = (cursor.ttlMs ?? defaultTtlMs) !== Infinity
    const address = log.seek(cursor.bytes, cursor.keyStart, keyLength)
    if (!first || !log.overwrites(address, valueLength, expires)) {
      units.push(entryUnits(keyLength, valueLength, expires))
    }
  }
  return units
}

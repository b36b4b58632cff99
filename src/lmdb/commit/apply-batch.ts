import type { EngineBatch } from '../../backend/facade/engines.js'
import type { KeyStretch } from '../../backend/scan-range.js'
import { type BatchCursor, OperationKind } from '../../backend/write-batch.js'
import { compareBytes, copyBytes } from '../../base/bytes.js'
import { StateError } from '../../base/errors.js'
import type { HashLog } from '../../log/hash-log.js'
import { entryUnits } from '../../log/layout.js'

/** What a batch is applied to. */
export interface BatchTarget {
  /** Which takes the writes. */
  readonly active: HashLog
  read(key: Uint8Array, counts: boolean): Uint8Array | undefined
  /** Writes what the put at hand says. */
  putFrom(cursor: BatchCursor, expiresAtMs: number): void
  remove(bytes: Uint8Array, start: number, length: number): void
  removeStretch(stretch: KeyStretch): void
}

/**
 * Checks what a batch expects (`CONCURRENT_MODIFICATION`) and whether it fits, then applies it in one step. `assertRoom` throws
 * `BACKEND_FULL` where so many keys, with so many bytes of keys and values, do not.
 */
export function applyBatch(
  target: BatchTarget,
  { cursor, expiry }: EngineBatch,
  assertRoom: (keys: number, bytes: number) => void,
): void {
  assertExpectations(target, cursor)
  assertRoomForPuts(cursor, assertRoom)
  target.active.inOneStep(unitsAtMost(cursor), () => {
    cursor.rewind()
    while (cursor.next()) {
      if (cursor.kind === OperationKind.PUT) target.putFrom(cursor, expiry(cursor.ttlMs))
      else if (cursor.kind === OperationKind.DELETE) {
        target.remove(cursor.bytes, cursor.keyStart, cursor.keyLength)
      } else if (cursor.kind === OperationKind.DELETE_RANGE) target.removeStretch(cursor.interval())
    }
  })
}

/** Where puts and deletes are filled in aside. */
export interface AsideTarget {
  readonly log: HashLog
  seek(bytes: Uint8Array, start: number, length: number): number
}

/** Adds the puts and deletes of a batch in one step, where they fit; otherwise `assertRoom` throws. */
export function fillAside(
  { log, seek }: AsideTarget,
  { cursor, expiry }: EngineBatch,
  assertRoom: (keys: number, bytes: number) => void,
): void {
  assertRoomForPuts(cursor, assertRoom)
  log.inOneStep(unitsAtMost(cursor), () => {
    cursor.rewind()
    while (cursor.next()) {
      const { bytes, keyStart, keyLength, valueStart, valueLength } = cursor
      const address = seek(bytes, keyStart, keyLength)
      if (cursor.kind === OperationKind.DELETE) log.remove(address)
      else log.write(address, bytes, valueStart, valueLength, expiry(cursor.ttlMs))
    }
  })
}

/** Throws `CONCURRENT_MODIFICATION` with the first key that does not hold what the batch expects. */
function assertExpectations(target: BatchTarget, cursor: BatchCursor): void {
  cursor.rewind()
  while (cursor.next()) {
    if (cursor.kind !== OperationKind.EXPECT_VALUE && cursor.kind !== OperationKind.EXPECT_ABSENT) continue
    const key = cursor.key()
    const value = target.read(key, false)
    const expected = cursor.kind === OperationKind.EXPECT_ABSENT ? undefined : cursor.value()
    const holds =
      value === undefined || expected === undefined ? value === expected : compareBytes(value, expected) === 0
    if (!holds) throw new StateError('CONCURRENT_MODIFICATION', { key: copyBytes(key) })
  }
}

function assertRoomForPuts(cursor: BatchCursor, assertRoom: (keys: number, bytes: number) => void): void {
  let keys = 0
  let bytes = 0
  cursor.rewind()
  while (cursor.next()) {
    if (cursor.kind !== OperationKind.PUT) continue
    keys++
    bytes += cursor.keyLength + cursor.valueLength
  }
  if (keys > 0) assertRoom(keys, bytes)
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

// A batch as arguments of the script that applies it, for each part that it touches.

import type { EngineBatch } from '../backend/facade/engines.js'
import { isEmptyInterval, isEverything, isInInterval, type KeyStretch } from '../backend/scan-range.js'
import { type BatchCursor, OperationKind } from '../backend/write-batch.js'
import { invalidArgument } from '../base/options.js'
import type { Command } from './clients.js'
import { lastPartBefore, partOf, storedValue } from './layout.js'

/** The largest value, in bytes: a server works on one command at a time, and holds it in memory more than once. */
export const MAX_STORED_VALUE_BYTES: number = 16 * 1_048_576
/** The largest batch, in bytes of keys and values. */
export const MAX_BATCH_BYTES: number = 64 * 1_048_576

/** What a part gets of a batch. */
export interface PartArguments {
  readonly part: number
  /** Keys and expected values. */
  readonly expected: (string | Buffer)[]
  readonly runs: (string | Buffer)[]
  bytes: number
  /** How many keys are expected, put and deleted; those of a range that the server finds itself are not known. */
  entries: number
  grows: boolean
}

/** Keys found of each range that a batch deletes, in the order of these, where the server does not keep keys in order. */
export type FoundKeys = readonly (readonly Uint8Array[])[]

type RunKind = 'p' | 't' | 'd'

/** Runs of operations of one kind, which the script does with one command each. */
class Runs implements PartArguments {
  readonly expected: (string | Buffer)[] = []
  readonly runs: (string | Buffer)[] = []
  bytes = 0
  entries = 0
  grows = false
  readonly part: number
  #kind: RunKind | undefined
  #start = 0
  #length = 0

  constructor(part: number) {
    this.part = part
  }

  add(kind: RunKind, key: Buffer, stored?: Buffer): void {
    if (kind !== this.#kind) {
      this.end()
      this.#kind = kind
      this.#start = this.runs.length
      this.runs.push(kind, '')
    }
    this.#length++
    this.entries++
    this.runs.push(key)
    if (stored !== undefined) {
      this.runs.push(stored)
      this.grows = true
    }
    this.bytes += key.length + (stored?.length ?? 0)
  }

  expect(key: Buffer, value: Buffer | string): void {
    this.expected.push(key, value)
    this.entries++
  }

  addWhole(...run: (string | Buffer)[]): void {
    this.end()
    this.runs.push(...run)
  }

  end(): void {
    if (this.#kind !== undefined) this.runs[this.#start + 1] = String(this.#length)
    this.#kind = undefined
    this.#length = 0
  }
}

/** For each part that the batch touches, what to send, in the order of parts. `found`: absent where the server finds the keys of a range itself. */
export function partArguments(
  { cursor, expiry }: EngineBatch,
  keyGroups: number,
  found?: FoundKeys,
): PartArguments[] {
  assertFits(cursor)
  const parts = new Map<number, Runs>()
  const runsOf = (part: number) => {
    const runs = parts.get(part) ?? new Runs(part)
    parts.set(part, runs)
    return runs
  }
  let ranges = 0
  cursor.rewind()
  while (cursor.next()) {
    if (cursor.kind === OperationKind.DELETE_RANGE) {
      const interval = cursor.interval()
      if (isEmptyInterval(interval)) continue
      const keys = found?.[ranges++]
      for (const part of partsOf(interval, keyGroups)) {
        const own = keys?.filter((key) => partOf(key, keyGroups) === part)
        addRange(runsOf(part), interval, own)
      }
      continue
    }
    const key = Buffer.from(cursor.key())
    const runs = runsOf(partOf(key, keyGroups))
    if (cursor.kind === OperationKind.DELETE) runs.add('d', key)
    else if (cursor.kind === OperationKind.EXPECT_ABSENT) runs.expect(key, '')
    else if (cursor.kind === OperationKind.EXPECT_VALUE)
      runs.expect(key, Buffer.concat([Buffer.from('='), cursor.value()]))
    else {
      const expiresAtMs = expiry(cursor.ttlMs)
      runs.add(expiresAtMs === Infinity ? 'p' : 't', key, storedValue(cursor.value(), expiresAtMs))
    }
  }
  const all = [...parts.values()].sort((left, right) => left.part - right.part)
  for (const runs of all) runs.end()
  return all
}

/** The ranges that a batch deletes, in its order. */
export function deletedRanges(cursor: BatchCursor): KeyStretch[] {
  const ranges: KeyStretch[] = []
  cursor.rewind()
  while (cursor.next()) {
    if (cursor.kind !== OperationKind.DELETE_RANGE) continue
    const interval = cursor.interval()
    if (!isEmptyInterval(interval)) ranges.push(interval)
  }
  return ranges
}

function assertFits(cursor: BatchCursor): void {
  if (cursor.bytes.length <= MAX_STORED_VALUE_BYTES) return
  let bytes = 0
  cursor.rewind()
  while (cursor.next()) {
    bytes += cursor.keyLength + cursor.valueLength
    if (cursor.kind === OperationKind.PUT && cursor.valueLength > MAX_STORED_VALUE_BYTES) {
      const limit = `the limit of this engine is ${MAX_STORED_VALUE_BYTES}`
      throw invalidArgument('value', `has ${cursor.valueLength} bytes; ${limit}`)
    }
  }
  if (bytes > MAX_BATCH_BYTES)
    throw invalidArgument(
      'batch',
      `has ${bytes} bytes; the limit of this engine is ${MAX_BATCH_BYTES}: write less in one step, in a job by cuts that come more often (\`flushIntervalMs\`)`,
    )
}

/** The parts that a range reaches into, in order. */
export function partsOf({ from, until }: KeyStretch, keyGroups: number): number[] {
  const first = partOf(from, keyGroups)
  const last = lastPartBefore(until, keyGroups)
  return Array.from({ length: Math.max(last - first + 1, 0) }, (_, i) => first + i)
}

function addRange(runs: Runs, interval: KeyStretch, found: readonly Uint8Array[] | undefined): void {
  if (isEverything(interval)) {
    runs.addWhole('c')
  } else if (found === undefined) {
    runs.addWhole('r', ...lexBounds(interval))
  } else {
    runs.end()
    // Also those that the batch itself puts before.
    for (const key of [...found, ...keysPut(runs.runs)])
      if (isInInterval(key, interval)) runs.add('d', Buffer.from(key))
  }
}

function keysPut(runs: Command): Uint8Array[] {
  const keys: Uint8Array[] = []
  for (let at = 0; at < runs.length; ) {
    const kind = runs[at]
    const count = Number(runs[at + 1])
    const step = kind === 'd' ? 1 : 2
    if (kind === 'c') {
      at++
      continue
    }
    for (let i = 0; i < count; i++) if (kind !== 'd') keys.push(runs[at + 2 + i * step] as Buffer)
    at += 2 + count * step
  }
  return keys
}

/** Bounds of `ZRANGEBYLEX`. */
export function lexBounds({ from, until }: KeyStretch): [min: Buffer, max: Buffer | string] {
  const min = Buffer.concat([Buffer.from('['), from])
  return [min, until === undefined ? '+' : Buffer.concat([Buffer.from('('), until])]
}

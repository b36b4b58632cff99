import type { SlicedWork } from '../../base/slices.js'
import { sortedByKey } from '../due/key-order.js'
import { HAS_VALUE } from './accumulator.js'
import type { KeyTable } from './key-table.js'

/** So many entries are looked at in one step. */
const STEP_LOOKS = 4_096

/**
 * The entries of a table that have something, in the order of their keys.
 *
 * @param shared the entries of keys that it shares with others, in that order: only the rest is sorted.
 */
export function* entriesInOrder(table: KeyTable, shared: Uint32Array | undefined): SlicedWork<Uint32Array> {
  const known = shared === undefined ? undefined : withValue(table, shared)
  if (known !== undefined && shared?.length === table.count) return known
  const order = new Uint32Array(table.count)
  let count = 0
  let looked = 0
  for (let entry = table.first(); entry !== 0; entry = table.next(entry)) {
    const isKnown = known !== undefined && table.isShared(entry)
    if (!isKnown && table.has(entry, HAS_VALUE)) order[count++] = entry
    if (++looked % STEP_LOOKS === 0) yield
  }
  const sorted = yield* sortedByKey(table, count < order.length ? order.slice(0, count) : order)
  return known === undefined ? sorted : merged(table, known, sorted)
}

/** Without a call for each: a window may have no other keys. */
function withValue(table: KeyTable, entries: Uint32Array): Uint32Array {
  const kept = new Uint32Array(entries.length)
  let count = 0
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i] as number
    if (table.has(entry, HAS_VALUE)) kept[count++] = entry
  }
  return count < kept.length ? kept.slice(0, count) : kept
}

/** Entries of both, each in the order of their keys. */
function merged(table: KeyTable, left: Uint32Array, right: Uint32Array): Uint32Array {
  const all = new Uint32Array(left.length + right.length)
  let next = 0
  let i = 0
  for (const entry of right) {
    while (i < left.length && table.compareKeys(left[i] as number, entry) < 0)
      all[next++] = left[i++] as number
    all[next++] = entry
  }
  all.set(left.subarray(i), next)
  return all
}

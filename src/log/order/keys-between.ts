import type { HashLog } from '../hash-log.js'
import { Uint32List } from '../uint32-list.js'

/**
 * The latest versions of the keys of `[from, until)`, tombstones left out, in order. They stay valid until the log is written
 * to. The order of keys is brought up to date at once where it is not.
 */
export function latestBetween(log: HashLog, from: Uint8Array, until: Uint8Array | undefined): Uint32Array {
  const { ordered, entries } = log
  const sorted = ordered.sortedNow()
  const [first, end] = ordered.range(sorted, from, until)
  const found = new Uint32List(Math.max(1, end - first))
  for (let i = first; i < end; i++) {
    const address = log.latest(sorted[i] as number)
    if (address !== 0 && !entries.isTombstone(address)) found.push(address)
  }
  return found.toArray()
}

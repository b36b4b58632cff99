// Everything that a store has of a state, found once: what is read into memory as a whole when a job begins.

import type { Entry } from '../../backend/types.js'
import type { SlicedWork } from '../../base/slices.js'
import { statePrefix } from '../key/stored-key.js'
import type { StateContext } from '../kinds/state-context.js'
import type { StateEntries } from './state-entries.js'

/** So many entries are taken in one step. */
const STEP_ENTRIES = 64

/** As `storedEntries`, in any order: an engine that has its keys in none need not sort them. */
export function* unsortedEntries(
  context: StateContext<unknown>,
  entries: StateEntries,
  take: (storedKey: Uint8Array, value: Uint8Array) => void,
): SlicedWork<void> {
  const unsorted = entries.unsorted(context.keyGroups)
  if (unsorted === undefined) {
    yield* storedEntries(context, entries, take)
    return
  }
  let count = 0
  for (const entry of unsorted) {
    if (entry !== undefined) take(entry[0], entry[1])
    if (entry === undefined || ++count % STEP_ENTRIES === 0) yield
  }
}

/**
 * Calls `take` with each entry of a state in the order of stored keys, step by step. Only over a store whose entries can be read at once.
 *
 * One scan goes on through all key groups. Where it meets an entry of another state, a new one begins where this state's can come again, so that
 * groups that have nothing of it are passed over. Where entries between those of the state cannot be read, each group is a scan of its own
 * (decision 115).
 */
export function* storedEntries(
  { id, keyGroups }: StateContext<unknown>,
  entries: StateEntries,
  take: (storedKey: Uint8Array, value: Uint8Array) => void,
): SlicedWork<void> {
  const end = statePrefix(keyGroups, 0)
  let count = 0
  for (let group = 0; group < keyGroups; ) {
    const isWide = entries.isAtHand(statePrefix(group, id), end)
    const range = { gte: statePrefix(group, id), lt: isWide ? end : statePrefix(group, id + 1) }
    // What the scan has not met is behind it.
    let next = isWide ? keyGroups : group + 1
    for (const [storedKey, value] of entries.scan([range]) as IterableIterator<Entry>) {
      const foundId = ((storedKey[2] as number) << 8) | (storedKey[3] as number)
      if (foundId !== id) {
        const foundGroup = ((storedKey[0] as number) << 8) | (storedKey[1] as number)
        next = foundId < id ? foundGroup : foundGroup + 1
        break
      }
      take(storedKey, value)
      if (++count % STEP_ENTRIES === 0) yield
    }
    group = next
    yield
  }
}

// What a store holds after each step, as a pure function of the step's number: whoever reads a store can tell which step
// it is at, and whether it holds all of it.

import { WriteBatch } from '../../../src/backend/write-batch.js'

/** Fewer than there are steps between two flushes, so that entries are overwritten and deleted too. */
const KEYS = 97
const PAIRS = 11
export const STEP_KEY = 'step'

/** Keys with their new values; undefined: deleted. */
export type Change = readonly (readonly [key: string, value: string | undefined])[]

/** What a step does, all or nothing. */
export function changeAt(step: number): Change {
  const changes: [string, string | undefined][] = [
    [STEP_KEY, `${step}`],
    [`key-${(step * 7) % KEYS}`, `of step ${step} ${'x'.repeat((step * 31) % 300)}`],
    [`left-${step % PAIRS}`, `pair ${step}`],
    [`right-${step % PAIRS}`, `pair ${step}`],
  ]
  if (step % 3 === 0) changes.push([`key-${(step * 5) % KEYS}`, undefined])
  return changes
}

/** What the store holds after a step. */
export function contentAfter(step: number): Map<string, string> {
  const content = new Map<string, string>()
  for (let each = 1; each <= step; each++) {
    for (const [key, value] of changeAt(each)) {
      if (value === undefined) content.delete(key)
      else content.set(key, value)
    }
  }
  return content
}

export function batchAt(step: number): WriteBatch {
  const batch = new WriteBatch()
  for (const [key, value] of changeAt(step)) {
    // Some are to expire one day: their index must survive as well.
    if (value === undefined) batch.delete(Buffer.from(key))
    else batch.put(Buffer.from(key), Buffer.from(value), step % 5 === 0 ? { ttlMs: 1e9 } : undefined)
  }
  return batch
}

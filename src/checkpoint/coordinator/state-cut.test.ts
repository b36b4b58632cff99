import { describe, expect, it } from 'vitest'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { takeCut } from './state-cut.js'

/** What was shared of the snapshots that a cut takes; nothing is, where it is asked for changes. */
function sharingOf(backend: MemoryStateBackend): string[] {
  const shared: string[] = []
  const taken = backend.snapshotSync.bind(backend)
  backend.snapshotSync = (options) => {
    const snapshot = taken(options)
    const share = snapshot.share?.bind(snapshot)
    snapshot.share = (what = 'all') => {
      shared.push(what)
      return what === 'changes' ? undefined : share?.(what)
    }
    return snapshot
  }
  return shared
}

describe('a cut', () => {
  it('shares what has changed, or else everything, not both', async () => {
    const backend = new MemoryStateBackend()
    const shared = sharingOf(backend)
    const options = { trackChanges: true, since: undefined, share: true }
    const first = await takeCut(backend, undefined, options)
    expect(first.all).toBeDefined()
    expect(shared).toEqual(['all'])
    const second = await takeCut(backend, undefined, { ...options, since: first.snapshot.base })
    expect(second.snapshot.tellsChanges).toBe(true)
    expect([second.all, second.changes]).toEqual([undefined, undefined])
    expect(shared).toEqual(['all', 'changes'])
    for (const { snapshot } of [first, second]) await snapshot.close()
    await backend.close()
  })
})

import { describe, expect, it } from 'vitest'
import { StateError } from '../../base/errors.js'
import type { StoreView } from '../store/store-view.js'
import { RangeRemovals } from './range-removals.js'

const PAGE_KEYS = 128

describe('removals of ranges', () => {
  it('that cannot read on tell it once, reject, and leave the range deleted for reads', async () => {
    const damage = new StateError('CORRUPTION', { what: 'store', reason: 'a page makes no sense' })
    const keys = Array.from({ length: PAGE_KEYS }, (_, i) => Uint8Array.of(1, i))
    let pages = 0
    const view = {
      firstDeadlineMs: Infinity,
      *keyPages() {
        if (++pages > 1) throw damage
        yield keys
      },
    } as unknown as StoreView
    const removed: Uint8Array[] = []
    const failures: StateError[] = []
    const removals = new RangeRemovals({
      view: () => view,
      isBuffered: () => false,
      remove: (key) => removed.push(key),
      finished: () => expect.unreachable(),
      failed: (error) => failures.push(error),
    })
    removals.add({ from: Uint8Array.of(1), until: Uint8Array.of(2) }, 7)
    await expect(removals.begin()).rejects.toBe(damage)
    expect(removed).toEqual(keys)
    expect(failures).toEqual([damage])
    expect(removals.deletedAtMs(Uint8Array.of(1, 200), 0, 2)).toBe(7)
    expect(removals.deletedAtMs(Uint8Array.of(2), 0, 1)).toBeUndefined()
    // Nobody goes on with it.
    removals.finish()
    expect(pages).toBe(2)
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type DeletedRanges, NOTHING_DELETED, partsOutside, rangeOf, withStretch } from './deleted-ranges.js'

const PLACES = 20
const keyAt = (place: number) => Uint8Array.of(place)
/** `[from, until)` by places; an end beyond the last one is none. */
const stretch = fc
  .tuple(fc.nat(PLACES - 1), fc.integer({ min: 1, max: PLACES }))
  .map(([from, length]) => ({ from, until: from + length }))

describe('ranges that are deleted', () => {
  it('hold what any of their stretches held, since the first that held it, and leave the rest of a stretch', () => {
    fc.assert(
      fc.property(fc.array(stretch, { maxLength: 8 }), stretch, (deleted, asked) => {
        let ranges: DeletedRanges = NOTHING_DELETED
        const since: (number | undefined)[] = Array(PLACES).fill(undefined)
        for (const [nowMs, each] of deleted.entries()) {
          ranges = withStretch(ranges, boundsOf(each), nowMs)
          for (let place = each.from; place < Math.min(each.until, PLACES); place++) since[place] ??= nowMs
        }
        for (let place = 0; place < PLACES; place++) {
          expect(rangeOf(ranges, keyAt(place))?.nowMs).toBe(since[place])
        }
        const parts = partsOutside(boundsOf(asked), ranges)
        const left: number[] = []
        for (const { from, until } of parts) {
          const end = until?.[0] ?? PLACES
          expect(from[0]).toBeLessThan(end)
          for (let place = from[0] ?? 0; place < end; place++) left.push(place)
        }
        const expected = [...Array(PLACES).keys()].filter(
          (place) => place >= asked.from && place < asked.until && since[place] === undefined,
        )
        expect(left).toEqual(expected)
      }),
    )
  })
})

function boundsOf({ from, until }: { readonly from: number; readonly until: number }) {
  return { from: keyAt(from), until: until >= PLACES ? undefined : keyAt(until) }
}

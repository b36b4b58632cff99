// Query 19: the ten highest bids for each auction, with their ranks; of equal prices the earlier one is before. Told at the end of the source, as in SQL on a
// table; on a stream SQL tells each change of a rank.

import { boundedDisorder, defineJob } from 'holdfast/job'
import { defineState, json, uint32 } from 'holdfast/state'
import { globalWindows, topN, type WindowResult, windowed } from 'holdfast/window'
import { type Bid, DISORDER_MS } from '../events.js'

export interface RankedBid extends Bid {
  readonly rank: number
}

export const topBids = defineJob<Bid, RankedBid>()({
  name: 'nexmark 19',
  key: ({ auction }) => auction,
  timestamp: ({ at }) => at,
  time: { watermarks: boundedDisorder(DISORDER_MS) },
  schema: defineState({ key: uint32, states: {} }),
  windows: {
    top: windowed({
      windows: globalWindows(),
      aggregate: topN({ n: 10, by: ({ price }: Bid) => price, codec: json<Bid>() }),
      outputs: ({ value }: WindowResult<number, readonly Bid[]>): RankedBid[] =>
        value.map((bid, place) => ({ ...bid, rank: place + 1 })),
    }),
  },
})

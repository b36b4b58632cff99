// Query 12: how many bids does a bidder make in every ten seconds of the machine's clock? Two runs do not give the same windows; together
// their counts are all bids.

import { defineJob } from 'holdfast/job'
import { defineState, uint32 } from 'holdfast/state'
import { count, tumbling } from 'holdfast/window'
import type { Bid } from '../events.js'

export interface BidderCount {
  readonly bidder: number
  readonly bids: number
  readonly endMs: number
}

export const processingTime = defineJob<Bid, BidderCount>()({
  name: 'nexmark 12',
  key: ({ bidder }) => bidder,
  schema: defineState({ key: uint32, states: {} }),
  windows: (windowed) => ({
    tenSeconds: windowed({
      windows: tumbling({ sizeMs: 10_000 }),
      time: 'processing',
      aggregate: count(),
      output: ({ key: bidder, window: { endMs }, value: bids }) => ({ bidder, bids, endMs }),
    }),
  }),
})

// Query 2: the bids for some auctions.

import { defineJob } from 'holdfast/job'
import { defineState, uint32 } from 'holdfast/state'
import type { Bid } from '../events.js'

export const selection = defineJob<Bid, Pick<Bid, 'auction' | 'price'>>()({
  name: 'nexmark 2',
  key: ({ auction }) => auction,
  schema: defineState({ key: uint32, states: {} }),
  process({ auction, price }, { emit }) {
    if (auction % 123 === 0) emit({ auction, price })
  },
})

// Query 7: the highest bids of every ten seconds: all of them where several have the highest price.

import { boundedDisorder, defineJob } from 'holdfast/job'
import { defineState, json, uint32 } from 'holdfast/state'
import { tumbling, type WindowResult, windowed } from 'holdfast/window'
import { type Bid, DISORDER_MS } from '../events.js'
import { highest } from '../highest.js'

export const highestBid = defineJob<Bid, Bid>()({
  name: 'nexmark 7',
  key: () => 0,
  timestamp: ({ at }) => at,
  time: { watermarks: boundedDisorder(DISORDER_MS) },
  schema: defineState({ key: uint32, states: {} }),
  windows: {
    highest: windowed({
      windows: tumbling({ sizeMs: 10_000 }),
      aggregate: highest(json<Bid[]>(), ({ price }) => price),
      outputs: ({ value }: WindowResult<number, readonly Bid[]>) => value,
    }),
  },
})

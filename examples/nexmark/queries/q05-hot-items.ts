// Query 5: which auctions have had the most bids in the last ten seconds, every two seconds? All of them where several have. Bids are counted by auction;
// a second stage finds the highest counts of each window.

import { boundedDisorder, defineJob } from 'holdfast/job'
import { defineState, json, uint32 } from 'holdfast/state'
import { count, hopping, tumbling, type WindowResult, windowed } from 'holdfast/window'
import { type Bid, DISORDER_MS } from '../events.js'
import { highest } from '../highest.js'

export interface HotItem {
  readonly auction: number
  readonly bids: number
  readonly endMs: number
}

const EVERY_MS = 2_000

export const hotItems = defineJob<Bid, HotItem>()({
  name: 'nexmark 5',
  key: ({ auction }) => auction,
  timestamp: ({ at }) => at,
  time: { watermarks: boundedDisorder(DISORDER_MS) },
  schema: defineState({ key: uint32, states: {} }),
  windows: {
    bids: windowed({
      windows: hopping({ sizeMs: 10_000, slideMs: EVERY_MS }),
      aggregate: count(),
      output: ({ key, window, value }: WindowResult<number, number>): HotItem => ({
        auction: key,
        bids: value,
        endMs: window.endMs,
      }),
    }),
  },
}).pipe<HotItem>()({
  name: 'hottest',
  key: () => 0,
  schema: defineState({ key: uint32, states: {} }),
  windows: {
    // A count has the time of the last instant of its window, and of these there is one in every two seconds.
    counts: windowed({
      windows: tumbling({ sizeMs: EVERY_MS }),
      aggregate: highest(json<HotItem[]>(), ({ bids }) => bids),
      outputs: ({ value }: WindowResult<number, readonly HotItem[]>) => value,
    }),
  },
})

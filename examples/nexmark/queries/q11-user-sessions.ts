// Query 11: how many bids does a bidder make in a session, which ends ten seconds after the last one?

import { boundedDisorder, defineJob } from 'holdfast/job'
import { defineState, uint32 } from 'holdfast/state'
import { count, session, type WindowResult, windowed } from 'holdfast/window'
import { type Bid, DISORDER_MS } from '../events.js'

export interface BidderSession {
  readonly bidder: number
  readonly bids: number
  readonly startMs: number
  readonly endMs: number
}

export const userSessions = defineJob<Bid, BidderSession>()({
  name: 'nexmark 11',
  key: ({ bidder }) => bidder,
  timestamp: ({ at }) => at,
  time: { watermarks: boundedDisorder(DISORDER_MS) },
  schema: defineState({ key: uint32, states: {} }),
  windows: {
    sessions: windowed({
      windows: session({ gapMs: 10_000 }),
      aggregate: count(),
      output: ({ key, window, value }: WindowResult<number, number>): BidderSession => ({
        bidder: key,
        bids: value,
        ...window,
      }),
    }),
  },
})

// Query 16: the same for each channel, with the minute of the last bid. Once for each channel and day, when that has ended.

import { boundedDisorder, defineJob } from 'holdfast/job'
import { defineState, utf8 } from 'holdfast/state'
import { combined, max, tumbling, type WindowResult, windowed } from 'holdfast/window'
import { type Bid, DISORDER_MS } from '../events.js'
import { type BidStatistics, bidStatistics, DAY_MS } from './bid-statistics.js'

export interface ChannelDay extends BidStatistics {
  readonly channel: string
  readonly day: string
  readonly minute: string
}

export const channelsPerDay = defineJob<Bid, ChannelDay>()({
  name: 'nexmark 16',
  key: ({ channel }) => channel,
  timestamp: ({ at }) => at,
  time: { watermarks: boundedDisorder(DISORDER_MS) },
  schema: defineState({ key: utf8, states: {} }),
  windows: {
    days: windowed({
      windows: tumbling({ sizeMs: DAY_MS }),
      aggregate: combined({ ...bidStatistics, lastAt: max(({ at }: Bid) => at) }),
      output: ({
        key,
        value,
      }: WindowResult<string, BidStatistics & { readonly lastAt: number }>): ChannelDay => {
        const { lastAt, ...statistics } = value
        const last = new Date(lastAt).toISOString()
        return { channel: key, day: last.slice(0, 10), minute: last.slice(11, 16), ...statistics }
      },
    }),
  },
})

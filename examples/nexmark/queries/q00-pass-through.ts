// Query 0: what goes through a job that does nothing.

import { defineJob } from 'holdfast/job'
import { defineState, uint32 } from 'holdfast/state'
import type { Bid } from '../events.js'

export const passThrough = defineJob<Bid, Bid>()({
  name: 'nexmark 0',
  key: ({ auction }) => auction,
  schema: defineState({ key: uint32, states: {} }),
  process: (bid, { emit }) => emit(bid),
})

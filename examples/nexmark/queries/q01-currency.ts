// Query 1: the price of each bid in euro.

import { defineJob } from 'holdfast/job'
import { defineState, uint32 } from 'holdfast/state'
import type { Bid } from '../events.js'

const EURO_PER_DOLLAR = 0.908

export const currency = defineJob<Bid, Bid>()({
  name: 'nexmark 1',
  key: ({ auction }) => auction,
  schema: defineState({ key: uint32, states: {} }),
  process: (bid, { emit }) => emit({ ...bid, price: bid.price * EURO_PER_DOLLAR }),
})

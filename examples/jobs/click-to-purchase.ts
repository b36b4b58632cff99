// Which click a purchase came from: clicks of the hour before it, of the same user, on the same product.

import { boundedDisorder, defineJob } from 'holdfast/job'
import { defineState, json, tuple, utf8 } from 'holdfast/state'
import { intervalJoin } from 'holdfast/window'

interface Action {
  readonly user: string
  readonly product: string
  readonly at: number
}

export interface Click extends Action {
  readonly campaign: string
}

export interface Purchase extends Action {
  readonly price: number
}

export interface Attribution {
  readonly campaign: string
  readonly product: string
  readonly price: number
  readonly afterMs: number
}

const MINUTE_MS = 60_000
const pairs = intervalJoin({
  name: 'pairs',
  left: json<Click>(),
  right: json<Purchase>(),
  fromMs: 0,
  toMs: 60 * MINUTE_MS,
})

export const clickToPurchase = defineJob<Click | Purchase, Attribution>()({
  name: 'click to purchase',
  key: ({ user, product }): [string, string] => [user, product],
  timestamp: ({ at }) => at,
  time: { watermarks: boundedDisorder(MINUTE_MS) },
  schema: defineState({ key: tuple(utf8, utf8), states: { ...pairs.states } }),
  process(action, { state, timestampMs, emit }) {
    const attribute = ({ campaign, product, at }: Click, purchase: Purchase) =>
      emit({ campaign, product, price: purchase.price, afterMs: purchase.at - at })
    if ('campaign' in action) pairs.left(state, action, timestampMs, attribute)
    else pairs.right(state, action, timestampMs, attribute)
  },
})

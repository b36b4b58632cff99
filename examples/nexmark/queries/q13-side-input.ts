// Query 13: each bid with a row of a table that changes: the one that was valid at the time of the bid. Rows are found by the auction's
// number modulo ten thousand.

import { boundedDisorder, defineJob } from 'holdfast/job'
import { defineState, uint32, utf8 } from 'holdfast/state'
import { versionedTable } from 'holdfast/window'
import { type Bid, DISORDER_MS } from '../events.js'
import type { From } from '../generator.js'

/** A row of the table is this from a time on. */
export interface SideRow {
  readonly kind: 'row'
  readonly key: number
  readonly value: string
  readonly at: number
}

export interface BidWithRow extends Pick<Bid, 'auction' | 'bidder' | 'price' | 'at'> {
  readonly value: string
}

const SIDE_KEYS = 10_000
/** Before all bids. */
const FROM_MS = 1_767_139_200_000
const table = versionedTable({ name: 'table', row: utf8 })

export const sideInput = defineJob<Bid | SideRow, BidWithRow>()({
  name: 'nexmark 13',
  key: (event) => (event.kind === 'row' ? event.key : event.auction % SIDE_KEYS),
  timestamp: ({ at }) => at,
  time: { watermarks: boundedDisorder(DISORDER_MS) },
  schema: defineState({ key: uint32, states: { ...table.states } }),
  process(event, { state, timestampMs, watermarkMs, emit }) {
    if (event.kind === 'row') return table.put(state, event.value, { timestampMs, watermarkMs })
    const value = table.asOf(state, timestampMs)
    const { auction, bidder, price, at } = event
    if (value !== undefined) emit({ auction, bidder, price, at, value })
  },
})

/** The rows in front of all bids: positions are how many rows were read, and then those of the bids, in brackets. */
export function withRows(bids: From<Bid>): From<Bid | SideRow> {
  return function* (position = 0) {
    for (let key = Array.isArray(position) ? SIDE_KEYS : Number(position); key < SIDE_KEYS; key++) {
      yield [{ kind: 'row', key, value: `row ${key}`, at: FROM_MS }, key + 1]
    }
    for (const [bid, behind] of bids(Array.isArray(position) ? position[0] : undefined)) yield [bid, [behind]]
  }
}

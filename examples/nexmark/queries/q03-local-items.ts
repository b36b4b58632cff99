// Query 3: who sells in category 10 in Oregon, Idaho or California? A join of people and auctions without an end: whichever of the two
// comes first waits for the other one, and people are kept.

import { defineJob } from 'holdfast/job'
import { defineState, json, map, none, uint32, value } from 'holdfast/state'
import type { Auction, Person } from '../events.js'

export interface LocalItem extends Pick<Person, 'name' | 'city' | 'state'> {
  readonly auction: number
}

const NEAR = new Set(['OR', 'ID', 'CA'])

export const localItems = defineJob<Person | Auction, LocalItem>()({
  name: 'nexmark 3',
  key: (event) => (event.kind === 'person' ? event.id : event.seller),
  schema: defineState({
    key: uint32,
    states: { seller: value(json<Omit<LocalItem, 'auction'>>()), waiting: map(uint32, none) },
  }),
  process(event, { state, emit }) {
    if (event.kind === 'person') {
      const { name, city, state: home } = event
      const seller = { name, city, state: home }
      state.seller.put(seller)
      for (const auction of state.waiting.keys()) if (NEAR.has(home)) emit({ ...seller, auction })
      state.waiting.clear()
    } else if (event.category === 10) {
      const seller = state.seller.get()
      if (seller === undefined) state.waiting.put(event.id, undefined)
      else if (NEAR.has(seller.state)) emit({ ...seller, auction: event.id })
    }
  },
})

// Query 8: who has registered and opened an auction within the same ten seconds? Once for each person and window.

import { boundedDisorder, defineJob } from 'holdfast/job'
import { defineState, json, uint32 } from 'holdfast/state'
import { tumbling, windowJoin } from 'holdfast/window'
import { type Auction, DISORDER_MS, type Person } from '../events.js'

export interface NewSeller {
  readonly id: number
  readonly name: string
  readonly startMs: number
}

type Event = Person | Auction

export const newSellers = defineJob<Event, NewSeller>()({
  name: 'nexmark 8',
  key: (event) => (event.kind === 'person' ? event.id : event.seller),
  timestamp: ({ at }) => at,
  time: { watermarks: boundedDisorder(DISORDER_MS) },
  schema: defineState({ key: uint32, states: {} }),
  windows: {
    sellers: windowJoin({
      windows: tumbling({ sizeMs: 10_000 }),
      left: { codec: json<Person>(), of: (event: Event) => (event.kind === 'person' ? event : undefined) },
      right: { codec: uint32, of: (event: Event) => (event.kind === 'auction' ? event.id : undefined) },
      *outputs({ window, left, right }): Iterable<NewSeller> {
        if (right.length === 0) return
        for (const { id, name } of left) yield { id, name, startMs: window.startMs }
      },
    }),
  },
})
